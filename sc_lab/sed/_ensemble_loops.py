"""Inner loops of galaxy fits: posterior of a piecewise-constant history and one ensemble's moves; compiled by `_ensemble`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sc_lab.sed._kernels import draw_log_mass, log_mass_integral

__all__: list[str] = []  # called by `_ensemble` alone

#: How one parameter follows from its standard normal coordinate; see `transform`.
FIXED, UNIFORM, LOG_UNIFORM, GAUSSIAN, STUDENT = 0, 1, 2, 3, 4

#: Places of the parameters after the ``n_bins - 1`` steps of the history.
METALLICITY, A_V, LOG_U, LOG_MASS, SHAPE = 0, 1, 2, 3, 4

_ROOT_HALF = math.sqrt(0.5)
_LN_TEN = math.log(10.0)


def transform(x: float, kind: int, p: Any) -> float:
    """Return a parameter from its coordinate, which is standard normal under the prior; NaN outside a Gaussian's limits.

    A fixed parameter is ``p[0]``. Uniform and log-uniform ones run from ``p[0]`` to ``p[1]``, the latter in decimal
    logarithms. A Gaussian has mean ``p[0]`` and sigma ``p[1]`` within ``p[2]``, ``p[3]``. A Student t of two degrees
    of freedom has location ``p[0]`` and scale ``p[1]``, and its distribution function is ``p[2]`` and ``p[3]`` at its
    limits; its quantile function (2 q - 1) / sqrt(2 q (1 - q)) is closed.
    """
    if kind == FIXED:
        return float(p[0])
    if kind == GAUSSIAN:
        value = p[0] + p[1] * x
        return float(value) if p[2] <= value <= p[3] else math.nan
    below = 0.5 * math.erfc(-x * _ROOT_HALF)
    above = 0.5 * math.erfc(x * _ROOT_HALF)
    if kind == UNIFORM:
        return float(p[0] + (p[1] - p[0]) * below)
    if kind == LOG_UNIFORM:
        return math.exp(_LN_TEN * (p[0] + (p[1] - p[0]) * below))
    q = p[2] * above + p[3] * below
    rest = (1.0 - p[2]) * above + (1.0 - p[3]) * below
    if q <= 0.0 or rest <= 0.0:
        return math.nan
    return float(p[0] + p[1] * (q - rest) / math.sqrt(2.0 * q * rest))


def log_posterior(x: Any, problem: Any, work: Any) -> float:
    """Return the logarithm of likelihood times prior at one point of normal coordinates.

    ``problem`` is what `sc_lab.sed.continuity` packs: kinds and numbers of the priors, where each parameter's
    coordinate is (-1: none), durations of the bins, nodes and tables in units of the errors, the data in them, the
    shape errors, whether the mass is integrated out, and its prior as the grid engine takes it. ``work`` holds one
    value per bin, the model of each band, and what the integral over the mass needs.
    """
    kinds, numbers, slots, widths, z_nodes, u_nodes, av_low, av_step, stellar, nebular, data, shape = problem[:12]
    marginal, mass_kind, mass_numbers, tail, nodes = problem[12:]
    weight, model, mass_work = work
    n_bins, n_neb, n_bands = stellar.shape[2], nebular.shape[3], stellar.shape[3]
    total = 0.0
    for j in range(len(x)):
        total -= 0.5 * x[j] * x[j]
    # From the oldest bin to the youngest: each step is log SFR(younger) - log SFR(older).
    level, highest = 0.0, 0.0
    weight[n_bins - 1] = 0.0
    for j in range(n_bins - 1):
        step = transform(x[slots[j]] if slots[j] >= 0 else 0.0, kinds[j], numbers[j])
        if math.isnan(step):
            return -math.inf
        level += step
        weight[n_bins - 2 - j] = level
        highest = max(highest, level)
    norm = 0.0
    for k in range(n_bins):
        weight[k] = math.exp(_LN_TEN * (weight[k] - highest)) * widths[k]
        norm += weight[k]
    first = n_bins - 1
    j = first + METALLICITY
    metal = transform(x[slots[j]] if slots[j] >= 0 else 0.0, kinds[j], numbers[j])
    j = first + A_V
    a_v = transform(x[slots[j]] if slots[j] >= 0 else 0.0, kinds[j], numbers[j])
    j = first + LOG_U
    log_u = transform(x[slots[j]] if slots[j] >= 0 else 0.0, kinds[j], numbers[j])
    j = first + LOG_MASS
    log_mass = transform(x[slots[j]] if slots[j] >= 0 else 0.0, kinds[j], numbers[j])
    j = first + SHAPE
    common = transform(x[slots[j]] if slots[j] >= 0 else 0.0, kinds[j], numbers[j])
    if math.isnan(metal) or math.isnan(a_v) or math.isnan(log_u) or math.isnan(log_mass) or math.isnan(common):
        return -math.inf

    iz, fz = 0, 0.0
    if metal >= z_nodes[-1]:
        iz, fz = len(z_nodes) - 2, 1.0
    elif metal > z_nodes[0]:
        while metal > z_nodes[iz + 1]:
            iz += 1
        fz = (metal - z_nodes[iz]) / (z_nodes[iz + 1] - z_nodes[iz])
    iu, fu = 0, 0.0
    if len(u_nodes) > 1:
        if log_u >= u_nodes[-1]:
            iu, fu = len(u_nodes) - 2, 1.0
        elif log_u > u_nodes[0]:
            while log_u > u_nodes[iu + 1]:
                iu += 1
            fu = (log_u - u_nodes[iu]) / (u_nodes[iu + 1] - u_nodes[iu])
    # Four nodes of the uniform A_V grid around the point carry a cubic.
    n_av = stellar.shape[1]
    place = (a_v - av_low) / av_step
    ia = min(max(math.floor(place) - 1, 0), n_av - 4) if n_av >= 4 else 0
    t = place - ia
    if n_av >= 4:
        c0 = -(t - 1.0) * (t - 2.0) * (t - 3.0) / 6.0
        c1 = t * (t - 2.0) * (t - 3.0) / 2.0
        c2 = -t * (t - 1.0) * (t - 3.0) / 2.0
        c3 = t * (t - 1.0) * (t - 2.0) / 6.0
    else:
        c0, c1, c2, c3 = 1.0, 0.0, 0.0, 0.0

    for b in range(n_bands):
        model[b] = 0.0
    for dz in range(2):
        wz = fz if dz else 1.0 - fz
        if wz == 0.0:
            continue
        for da in range(4 if n_av >= 4 else 1):
            ca = c0 if da == 0 else (c1 if da == 1 else (c2 if da == 2 else c3))
            for k in range(n_bins):
                c = wz * ca * weight[k]
                row = stellar[iz + dz, ia + da, k]
                for b in range(n_bands):
                    model[b] += c * row[b]
            for du in range(2 if len(u_nodes) > 1 else 1):
                wu = fu if du else 1.0 - fu
                if wu == 0.0:
                    continue
                for k in range(n_neb):
                    c = wz * ca * wu * weight[k]
                    row = nebular[iz + dz, iu + du, ia + da, k]
                    for b in range(n_bands):
                        model[b] += c * row[b]

    aa, ab, bb = 0.0, 0.0, 0.0
    for b in range(n_bands):
        flux = model[b] / norm * (1.0 + common * shape[b])
        model[b] = flux
        aa += flux * flux
        ab += flux * data[b]
        bb += data[b] * data[b]
    if not aa > 0.0:
        return -math.inf
    if marginal:
        return total - 0.5 * bb + log_mass_integral(aa, ab, mass_kind, mass_numbers, tail, nodes, mass_work)
    mass = math.exp(_LN_TEN * log_mass)
    return total - 0.5 * (bb - 2.0 * mass * ab + mass * mass * aa)


def log_posterior_many(points: Any, problem: Any, work: Any, out: Any) -> None:
    """Fill ``out`` with the log posterior of each row of ``points``."""
    for n in range(len(points)):
        out[n] = log_posterior(points[n], problem, work)


def draw_masses(a: Any, b: Any, kind: int, numbers: Any, nodes: Any, work: Any, stream: Any, out: Any) -> None:
    """Fill ``out`` with one draw of ln M for each model; see `sc_lab.sed._kernels.draw_log_mass`."""
    for n in range(len(a)):
        out[n] = draw_log_mass(a[n], b[n], kind, numbers, nodes, work, stream)


def move_ensemble(
    walkers: Any,
    values: Any,
    n_steps: int,
    thin: int,
    rng: Any,
    problem: Any,
    work: Any,
    guess: Any,
    chain: Any,
    trace: Any,
) -> int:
    """Move one ensemble ``n_steps`` times, keep every ``thin``-th state, and return how many moves were accepted.

    Each half of the walkers moves by the positions of the other half, so the moves keep the posterior exactly: four in
    five by differential evolution (ter Braak 2006: along the difference of two others, scaled by 2.38 / sqrt(2 n), one
    in ten by the whole difference, which carries walkers between modes; in some or all coordinates, Vrugt et al. 2009),
    one in five by the stretch of Goodman & Weare (2010) with a = 2. With a ``guess`` of the posterior, a mean, the
    Cholesky factor of a covariance and its inverse, six in ten moves are steps of an autoregression that would keep
    that Gaussian, corrected by the ratio of the two densities (preconditioned Crank-Nicolson, Cotter et al. 2013). The
    guess must not change with the walkers.
    """
    middle, root, inverse = guess
    guessed = len(middle) > 0
    normal = np.empty(len(middle))
    n_walkers, n_dim = walkers.shape
    half = n_walkers // 2
    proposal, moved = np.empty(n_dim), np.zeros(n_dim, dtype=np.bool_)
    accepted, kept = 0, 0
    for step in range(n_steps):
        for side in range(2):
            first = half if side else 0
            other = 0 if side else half
            n_here = n_walkers - half if side else half
            n_other = half if side else n_walkers - half
            for w in range(first, first + n_here):
                ratio = 0.0
                kind = rng.random()
                if guessed and kind < 0.6:
                    kept_part = 0.98 * rng.random() ** 0.5
                    fresh = math.sqrt(1.0 - kept_part * kept_part)
                    for d in range(n_dim):
                        normal[d] = rng.standard_normal()
                    for d in range(n_dim):
                        step_d = 0.0
                        for e in range(d + 1):
                            step_d += root[d, e] * normal[e]
                        proposal[d] = middle[d] + kept_part * (walkers[w, d] - middle[d]) + fresh * step_d
                    for d in range(n_dim):
                        before, after = 0.0, 0.0
                        for e in range(d + 1):
                            before += inverse[d, e] * (walkers[w, e] - middle[e])
                            after += inverse[d, e] * (proposal[e] - middle[e])
                        ratio += 0.5 * (after * after - before * before)
                elif rng.random() < 0.8:
                    i = int(rng.random() * n_other)
                    j = int(rng.random() * (n_other - 1))
                    if j >= i:
                        j += 1
                    # Some moves leave part of the coordinates alone: where the data say little, that is accepted more.
                    share = 1.0 if rng.random() < 0.4 else rng.random()
                    n_moved = 0
                    for d in range(n_dim):
                        moved[d] = rng.random() < share
                        n_moved += moved[d]
                    whole = rng.random() < 0.1
                    gamma = 2.38 / math.sqrt(2.0 * max(n_moved, 1)) * (1.0 + 0.1 * rng.standard_normal())
                    if whole:
                        gamma = 1.0
                    for d in range(n_dim):
                        proposal[d] = walkers[w, d]
                        if moved[d]:
                            proposal[d] += gamma * (walkers[other + i, d] - walkers[other + j, d])
                            proposal[d] += 1e-5 * rng.standard_normal()
                else:
                    i = int(rng.random() * n_other)
                    stretch = (rng.random() + 1.0) ** 2 / 2.0
                    ratio = (n_dim - 1.0) * math.log(stretch)
                    for d in range(n_dim):
                        proposal[d] = walkers[other + i, d] + stretch * (walkers[w, d] - walkers[other + i, d])
                value = log_posterior(proposal, problem, work)
                if math.log(1.0 - rng.random()) < value - values[w] + ratio:
                    values[w] = value
                    accepted += 1
                    for d in range(n_dim):
                        walkers[w, d] = proposal[d]
        if (step + 1) % thin == 0 and kept < len(chain):
            for w in range(n_walkers):
                trace[kept, w] = values[w]
                for d in range(n_dim):
                    chain[kept, w, d] = walkers[w, d]
            kept += 1
    return accepted


#: In the order in which they call each other.
HELPERS = (transform, log_posterior)
