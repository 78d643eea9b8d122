"""Inner loops of the grid engine, in plain Python that numba compiles: model fluxes, mass integrals, cells, draws.

Arrays that several loops share:

- ``table``: flat float32, one block per row, laid out (metallicity, log U, A_V, column); a column is a band,
  then the V band, then zeros up to a multiple of four;
- ``start``, ``n_log_u``: where the block of a row begins and how many log U it has (1 where gas does not matter);
- ``row_a``, ``row_b``, ``mix``: an age state is ``(1 - mix) * row_a + mix * row_b``;
- ``axes``: three rows, of metallicity, A_V and log U: low, high, whether the coordinate is the natural logarithm,
  and mean and sigma of a Gaussian density (sigma 0: flat), then the logarithm of its norm.
"""

# The compiler types the loops; to mypy their arrays are Any.
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = [
    "HELPERS",
    "axis_density",
    "axis_value",
    "coarse_fluxes",
    "coarse_posterior",
    "draw_log_mass",
    "fit_source",
    "log_likelihood",
    "log_mass_integral",
    "log_mass_panels",
    "mass_edges",
    "model_at",
    "next_uniform",
    "products",
    "refine",
    "representative",
]

#: Kinds of prior of log mass.
UNIFORM, GAUSSIAN, FIXED, LOG_UNIFORM = 0, 1, 2, 3
#: Above this significance the asymptotic series of the mass integral is exact to 1e-6.
_SERIES_FROM = 8.0
_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
_EULER = 0.5772156649015329
_LN10 = math.log(10.0)


def next_uniform(state: Any) -> float:
    """Advance a 64-bit stream (splitmix64, Steele et al. 2014) and return a number between 0 and 1, both excluded."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    word = state[0]
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    word = word ^ (word >> np.uint64(31))
    return (float(word >> np.uint64(12)) + 0.5) / 4503599627370496.0


def axis_value(axes: Any, d: int, x: float) -> float:
    """Return the parameter at a coordinate of an axis."""
    return math.exp(x) if axes[d, 2] > 0.0 else x


def axis_density(axes: Any, d: int, x: float) -> float:
    """Return the logarithm of the prior density in the coordinate of an axis; 0 on a fixed one."""
    width = axes[d, 1] - axes[d, 0]
    if width <= 0.0:
        return 0.0
    if axes[d, 4] > 0.0:
        t = (x - axes[d, 3]) / axes[d, 4]
        return -0.5 * t * t - axes[d, 5]
    return -math.log(width)


def model_at(
    out: Any,
    table: Any,
    start: Any,
    n_log_u: Any,
    row_a: Any,
    row_b: Any,
    mix: Any,
    z_nodes: Any,
    u_nodes: Any,
    av_grid: Any,
    state: int,
    metallicity: float,
    a_v: float,
    log_u: float,
) -> None:
    """Write the fluxes of one model of unit mass into ``out``, shape (n_column,)."""
    n_z, n_u, n_col = z_nodes.size, u_nodes.size, out.size
    n_av = int(av_grid[2])
    for c in range(n_col):
        out[c] = 0.0
    # Metallicity and log U are linear between nodes and constant beyond the last ones.
    iz, fz = 0, 0.0
    if n_z > 1:
        while iz < n_z - 2 and metallicity > z_nodes[iz + 1]:
            iz += 1
        fz = min(max((metallicity - z_nodes[iz]) / (z_nodes[iz + 1] - z_nodes[iz]), 0.0), 1.0)
    iu, fu = 0, 0.0
    if n_u > 1:
        while iu < n_u - 2 and log_u > u_nodes[iu + 1]:
            iu += 1
        fu = min(max((log_u - u_nodes[iu]) / (u_nodes[iu + 1] - u_nodes[iu]), 0.0), 1.0)
    # Four-point Lagrange interpolation on the uniform grid of A_V.
    p = (a_v - av_grid[0]) / av_grid[1]
    ia = min(max(int(p) - 1, 0), n_av - 4)
    t = p - ia
    w0 = -(t - 1.0) * (t - 2.0) * (t - 3.0) / 6.0
    w1 = t * (t - 2.0) * (t - 3.0) / 2.0
    w2 = -t * (t - 1.0) * (t - 3.0) / 2.0
    w3 = t * (t - 1.0) * (t - 2.0) / 6.0
    for part in range(2):
        row = row_a[state] if part == 0 else row_b[state]
        share = 1.0 - mix[state] if part == 0 else mix[state]
        if share == 0.0:
            continue
        n_k = n_log_u[row]
        for jz in range(2):
            wz = share * (fz if jz == 1 else 1.0 - fz)
            if wz == 0.0:
                continue
            for ju in range(2 if n_k > 1 else 1):
                w = wz
                if n_k > 1:
                    w *= fu if ju == 1 else 1.0 - fu
                if w == 0.0:
                    continue
                k = iu + ju if n_k > 1 else 0
                base = start[row] + (((iz + jz) * n_k + k) * n_av + ia) * n_col
                v0, v1, v2, v3 = w * w0, w * w1, w * w2, w * w3
                for c in range(n_col):
                    i = base + c
                    out[c] += (
                        v0 * table[i] + v1 * table[i + n_col] + v2 * table[i + 2 * n_col] + v3 * table[i + 3 * n_col]
                    )


def mass_edges(edges: Any, a: float, b: float, kind: int, m: Any) -> int:
    """Write the edges, in ln M, of panels that resolve prior and likelihood of the mass; return how many."""
    low, high = m[0], m[1]
    n = 0
    root = math.sqrt(a)
    s = b / root
    scale = -math.log(root)
    for shift in (-6.0, -3.0, -1.0, 0.0, 1.0, 2.3):
        edges[n] = scale + shift
        n += 1
    if s > 0.5:
        peak = scale + math.log(s)
        for shift in (-7.0, -3.0, 0.0, 3.0, 7.0):
            edges[n] = peak + shift / (1.0 + s)
            n += 1
    elif s < -0.5:
        for shift in (-3.0, -1.0, 0.5, 1.5, 3.0):
            edges[n] = scale - math.log(-s) + shift
            n += 1
    # Beyond the peak the density falls from the limit of the prior within a fraction of a scale.
    for side in range(2):
        limit = low if side == 0 else high
        x = math.exp(min(limit - scale, 300.0))
        slope = (x - s) * x if side == 0 else (s - x) * x
        if slope > 1.0:
            for shift in (4.0, 16.0, 48.0):
                edges[n] = limit + shift / slope if side == 0 else limit - shift / slope
                n += 1
    if kind == GAUSSIAN:
        for shift in (-6.0, -2.0, 2.0, 6.0):
            edges[n] = m[2] + shift * m[3]
            n += 1
    edges[n] = low
    edges[n + 1] = high
    n += 2
    for i in range(n):
        edges[i] = min(max(edges[i], low), high)
    edges[:n].sort()
    k = 1
    for i in range(1, n):
        if edges[i] > edges[k - 1]:
            edges[k] = edges[i]
            k += 1
    return k


def log_mass_panels(
    values: Any, places: Any, edges: Any, n_edge: int, a: float, b: float, kind: int, m: Any, nodes: Any
) -> float:
    """Write log integrand (without the norm of the prior) and weights at all nodes of all panels; return its maximum."""
    top = -np.inf
    n_node = nodes.shape[1]
    for k in range(n_edge - 1):
        half = 0.5 * (edges[k + 1] - edges[k])
        middle = edges[k] + half
        for j in range(n_node):
            u = middle + half * nodes[0, j]
            x = math.exp(u)
            value = x * b - 0.5 * x * x * a
            if kind == GAUSSIAN:
                t = (u - m[2]) / m[3]
                value -= 0.5 * t * t
            elif kind == LOG_UNIFORM:
                value -= math.log(u)
            i = k * n_node + j
            values[i] = value
            places[i] = half * nodes[1, j]
            top = max(top, value)
    return top


def log_mass_integral(a: float, b: float, kind: int, m: Any, tail: Any, nodes: Any, work: Any) -> float:
    """Return the logarithm of the prior average of exp(M b - M^2 a / 2).

    ``m``: ln of the lower and upper limit of the mass, mean and sigma (Gaussian, in ln M), logarithm of the norm.
    ``tail``: table of the regularised integral below, its slope, on a uniform grid from ``-tail_end`` to `_SERIES_FROM`.
    """
    if kind == FIXED:
        x = math.exp(m[0])
        return x * b - 0.5 * x * x * a
    if a <= 0.0:
        return 0.0
    root = math.sqrt(a)
    s = b / root
    if kind == UNIFORM:
        x_low, x_high = root * math.exp(m[0]), root * math.exp(m[1])
        if s > _SERIES_FROM and x_low < s - 6.0 and x_high > s + 6.0:
            r = 1.0 / (s * s)
            return (
                0.5 * s * s
                + _HALF_LOG_2PI
                - math.log(s)
                + math.log(1.0 + r * (1.0 + r * (3.0 + r * (15.0 + 105.0 * r))))
                - m[4]
            )
        size = max(abs(s), 1.0)
        if s <= _SERIES_FROM and size * x_low < 1.0 and x_high > max(s, 0.0) + 8.0:
            # Integral of (exp(s x - x^2/2) - [x < 1]) / x from 0, less its part below x_low.
            end = tail[2, 0]
            if s < -end:
                r = 1.0 / (s * s)
                regular = -_EULER - math.log(-s) - 0.5 * r + 0.75 * r * r
            else:
                step = tail[2, 1]
                p = (s + end) / step
                i = min(int(p), tail.shape[1] - 2)
                t = p - i
                f0, f1 = tail[0, i], tail[0, i + 1]
                d0, d1 = tail[1, i] * step, tail[1, i + 1] * step
                regular = f0 + t * (d0 + t * (3.0 * (f1 - f0) - 2.0 * d0 - d1 + t * (2.0 * (f0 - f1) + d0 + d1)))
            # exp(s x - x^2 / 2) generates Hermite polynomials He_n(s) x^n / n!, which are integrated term by term.
            before, now, power, below = 1.0, s, x_low, s * x_low
            for n in range(2, 12):
                before, now = now, s * now - (n - 1.0) * before
                power *= x_low / n
                below += now * power / n
            return math.log(regular - math.log(x_low) - below) - m[4]
    n_edge = mass_edges(work[0], a, b, kind, m)
    top = log_mass_panels(work[1], work[2], work[0], n_edge, a, b, kind, m, nodes)
    total = 0.0
    for i in range((n_edge - 1) * nodes.shape[1]):
        total += work[2, i] * math.exp(work[1, i] - top)
    return top + math.log(total) - m[4]


def _draw_between(s: float, x_low: float, x_high: float, middle: float, stream: Any) -> float:
    """Return a draw of exp(s x - x^2 / 2) / x between two limits, by rejection from an envelope of two parts.

    Below ``middle`` the envelope is 1 / x times the largest exponential, above it the exponential over ``middle``: a
    normal density, or a falling exponential where ``middle`` lies well above its mean.
    """
    top = s * middle - 0.5 * middle * middle if s > 0.0 else s * x_low - 0.5 * x_low * x_low
    if s > 0.0:
        near = min(s, middle)
        top = s * near - 0.5 * near * near
    log_span = math.log(middle / x_low)
    steep = middle - s
    edge = s * middle - 0.5 * middle * middle
    if steep > 0.3:
        upper = math.exp(edge - top) / (middle * steep)
    else:
        upper = math.sqrt(0.5 * math.pi) * math.erfc(steep / math.sqrt(2.0)) * math.exp(0.5 * s * s - top) / middle
    part = log_span / (log_span + upper)
    while True:
        if next_uniform(stream) < part:
            x = x_low * math.exp(log_span * next_uniform(stream))
            if math.log(next_uniform(stream)) < s * x - 0.5 * x * x - top:
                return x
            continue
        if steep > 0.3:
            x = middle - math.log(next_uniform(stream)) / steep
            accept = math.exp(-0.5 * (x - middle) * (x - middle)) * middle / x
        else:
            x = 0.0
            while x <= middle:
                r = math.sqrt(-2.0 * math.log(next_uniform(stream)))
                x = s + r * math.cos(2.0 * math.pi * next_uniform(stream))
            accept = middle / x
        if x < x_high and next_uniform(stream) < accept:
            return x


def draw_log_mass(a: float, b: float, kind: int, m: Any, nodes: Any, work: Any, stream: Any) -> float:
    """Return one draw of ln M from its density given the other parameters."""
    if kind == FIXED:
        return m[0]
    if a <= 0.0:
        return m[0] + (m[1] - m[0]) * next_uniform(stream)
    root = math.sqrt(a)
    s = b / root
    if kind == UNIFORM:
        x_low, x_high = root * math.exp(m[0]), root * math.exp(m[1])
        middle = 0.5 * s if s > 2.0 else (1.0 if s > -1.0 else -1.0 / s)
        if x_low < 0.5 * middle and x_high > max(s, 0.0) + 3.0:
            return math.log(_draw_between(s, x_low, x_high, middle, stream) / root)
    n_edge = mass_edges(work[0], a, b, kind, m)
    top = log_mass_panels(work[1], work[2], work[0], n_edge, a, b, kind, m, nodes)
    n_node = nodes.shape[1]
    n = (n_edge - 1) * n_node
    total = 0.0
    for i in range(n):
        work[1, i] = work[2, i] * math.exp(work[1, i] - top)
        total += work[1, i]
    goal = next_uniform(stream) * total
    i = 0
    while i < n - 1 and goal > work[1, i]:
        goal -= work[1, i]
        i += 1
    # The share of one node is spread over the interval of its weight: a twentieth of a scale at most.
    k = i // n_node
    low = work[0, k]
    for j in range(k * n_node, i):
        low += work[2, j]
    return min(max(low + work[2, i] * min(goal / work[1, i], 1.0), m[0]), m[1])


def products(flux: Any, data: Any, n_band: int) -> tuple[float, float]:
    """Return sum F^2 w and sum F f w for unit-mass fluxes F, the weights those of the whole covariance.

    ``data`` rows: weight 1/sigma^2, weight times flux, weight times the common error; its last column holds in row 0
    the sum of weighted squares of the common error plus one, in row 1 the sum of weight, flux and common error.
    """
    a, b, cross = 0.0, 0.0, 0.0
    for k in range(n_band):
        a += flux[k] * flux[k] * data[0, k]
        b += flux[k] * data[1, k]
        cross += flux[k] * data[2, k]
    return a - cross * cross / data[0, n_band], b - cross * data[1, n_band] / data[0, n_band]


def log_likelihood(flux: Any, data: Any, n_band: int, kind: int, m: Any, tail: Any, nodes: Any, work: Any) -> float:
    """Return the mass-marginal log likelihood of unit-mass fluxes, less the constant of the data."""
    a, b = products(flux, data, n_band)
    return log_mass_integral(a, b, kind, m, tail, nodes, work)


def representative(cumulative: Any, low: int, high: int) -> int:
    """Return the age state in the middle of the prior mass of states low to high - 1."""
    if high - low <= 2:
        return low + (high - low) // 2 if cumulative[high] > cumulative[low] else low
    goal = 0.5 * (cumulative[low] + cumulative[high])
    i = low
    while i < high - 1 and cumulative[i + 1] < goal:
        i += 1
    return i


def coarse_fluxes(
    out: Any,
    states: Any,
    low: Any,
    high: Any,
    cumulative: Any,
    axes: Any,
    table: Any,
    start: Any,
    n_log_u: Any,
    row_a: Any,
    row_b: Any,
    mix: Any,
    z_nodes: Any,
    u_nodes: Any,
    av_grid: Any,
) -> None:
    """Write the fluxes at the middles of cells into ``out``, float32 of shape (n_column, n_cell)."""
    flux = np.empty(out.shape[0])
    for i in range(out.shape[1]):
        state = representative(cumulative, states[i, 0], states[i, 1])
        x0 = axis_value(axes, 0, 0.5 * (low[i, 0] + high[i, 0]))
        x1 = axis_value(axes, 1, 0.5 * (low[i, 1] + high[i, 1]))
        x2 = axis_value(axes, 2, 0.5 * (low[i, 2] + high[i, 2]))
        model_at(flux, table, start, n_log_u, row_a, row_b, mix, z_nodes, u_nodes, av_grid, state, x0, x1, x2)
        for c in range(flux.size):
            out[c, i] = flux[c]


def coarse_posterior(
    out: Any, fluxes: Any, volume: Any, data: Any, n_band: int, kind: int, m: Any, tail: Any, nodes: Any, work: Any
) -> float:
    """Write the log posterior mass of all cells, minus infinity where negligible; return the maximum."""
    n = volume.size
    block = 2048
    a, b, c = np.empty(block), np.empty(block), np.empty(block)
    bound = np.empty(n)
    keep_a, keep_b = np.empty(n), np.empty(n)
    common = data[2, n_band] > 0.0
    top = -np.inf
    for first in range(0, n, block):
        size = min(block, n - first)
        for i in range(size):
            a[i], b[i], c[i] = 0.0, 0.0, 0.0
        for k in range(n_band):
            w, wf, wv = data[0, k], data[1, k], data[2, k]
            if common:
                for i in range(size):
                    f = float(fluxes[k, first + i])
                    a[i] += f * f * w
                    b[i] += f * wf
                    c[i] += f * wv
            else:
                for i in range(size):
                    f = float(fluxes[k, first + i])
                    a[i] += f * f * w
                    b[i] += f * wf
        for i in range(size):
            if common:
                a[i] -= c[i] * c[i] / data[0, n_band]
                b[i] -= c[i] * data[1, n_band] / data[0, n_band]
            keep_a[first + i] = a[i]
            keep_b[first + i] = b[i]
            # The integral is never larger than the likelihood at its best mass.
            value = 0.5 * b[i] * b[i] / a[i] if (b[i] > 0.0 and a[i] > 0.0) else 0.0
            bound[first + i] = value + volume[first + i]
    for i in range(n):
        top = max(top, bound[i])
    # First the cells whose bound is near the best bound: they give the best value that the others must come near.
    best = -np.inf
    for i in range(n):
        out[i] = -np.inf
        if bound[i] > top - 4.0:
            out[i] = log_mass_integral(keep_a[i], keep_b[i], kind, m, tail, nodes, work) + volume[i]
            best = max(best, out[i])
    for i in range(n):
        if bound[i] <= top - 4.0 and bound[i] > best - 20.0:
            out[i] = log_mass_integral(keep_a[i], keep_b[i], kind, m, tail, nodes, work) + volume[i]
            best = max(best, out[i])
    return best


def refine(
    n_cell: int,
    states: Any,
    low: Any,
    high: Any,
    volume: Any,
    value: Any,
    done: Any,
    tolerance: float,
    cut: float,
    max_level: int,
    data: Any,
    n_band: int,
    cumulative: Any,
    young: Any,
    axes: Any,
    table: Any,
    start: Any,
    n_log_u: Any,
    row_a: Any,
    row_b: Any,
    mix: Any,
    z_nodes: Any,
    u_nodes: Any,
    av_grid: Any,
    kind: int,
    m: Any,
    tail: Any,
    nodes: Any,
    work: Any,
    flux: Any,
) -> int:
    """Split cells that hold posterior mass and across which the likelihood changes; return the number of cells."""
    capacity = value.size
    near = np.empty((4, 2))
    middle = np.empty(3)
    for _level in range(max_level):
        top = -np.inf
        for i in range(n_cell):
            top = max(top, value[i] + volume[i])
        total = 0.0
        for i in range(n_cell):
            total += math.exp(value[i] + volume[i] - top)
        edge = top + math.log(total * cut)
        n_before = n_cell
        for i in range(n_before):
            # A cell that was looked at carries what its best quarter promises above its middle.
            if value[i] + volume[i] < edge or done[i] > 0:
                continue
            if n_cell >= capacity:
                return n_cell
            s0, s1 = states[i, 0], states[i, 1]
            cut_state = (s0 + s1) // 2
            for d in range(3):
                middle[d] = 0.5 * (low[i, d] + high[i, d])
            here = representative(cumulative, s0, s1)
            worst, which = -1.0, -1
            for d in range(4):
                if d == 3 and s1 - s0 < 2:
                    continue
                if d < 3 and high[i, d] - low[i, d] <= 0.0:
                    continue
                if d == 2 and young[here] == 0:
                    continue
                smallest, largest = value[i], value[i]
                for side in range(2):
                    x0 = middle[0]
                    x1 = middle[1]
                    x2 = middle[2]
                    state = here
                    if d == 3:
                        state = (
                            representative(cumulative, s0, cut_state)
                            if side == 0
                            else representative(cumulative, cut_state, s1)
                        )
                    else:
                        shift = (0.25 if side == 1 else -0.25) * (high[i, d] - low[i, d])
                        if d == 0:
                            x0 += shift
                        elif d == 1:
                            x1 += shift
                        else:
                            x2 += shift
                    model_at(
                        flux, table, start, n_log_u, row_a, row_b, mix, z_nodes, u_nodes, av_grid, state,
                        axis_value(axes, 0, x0), axis_value(axes, 1, x1), axis_value(axes, 2, x2),
                    )  # fmt: skip
                    near[d, side] = log_likelihood(flux, data, n_band, kind, m, tail, nodes, work)
                    smallest = min(smallest, near[d, side])
                    largest = max(largest, near[d, side])
                if largest - smallest > worst:
                    worst, which = largest - smallest, d
            if worst < tolerance:
                done[i] = 1
                continue
            # The upper half goes to a new cell, the lower one stays.
            j = n_cell
            n_cell += 1
            for d in range(3):
                low[j, d], high[j, d] = low[i, d], high[i, d]
            states[j, 0], states[j, 1] = s0, s1
            if which == 3:
                states[i, 1] = cut_state
                states[j, 0] = cut_state
                whole = cumulative[s1] - cumulative[s0]
                lower = cumulative[cut_state] - cumulative[s0]
                volume[j] = volume[i] + math.log(max(whole - lower, 1e-300) / whole)
                volume[i] += math.log(max(lower, 1e-300) / whole)
            else:
                high[i, which] = middle[which]
                low[j, which] = middle[which]
                at = axis_density(axes, which, middle[which])
                quarter = 0.5 * (high[j, which] - low[j, which])
                volume[j] = volume[i] + axis_density(axes, which, middle[which] + quarter) - at - math.log(2.0)
                volume[i] += axis_density(axes, which, middle[which] - quarter) - at - math.log(2.0)
            value[i] = near[which, 0]
            value[j] = near[which, 1]
            done[i] = 0
            done[j] = 0
        if n_cell == n_before:
            break
    return n_cell


def fit_source(
    draws: Any,
    draw_states: Any,
    draw_flux: Any,
    report: Any,
    best: Any,
    flux_njy: Any,
    sigma: Any,
    shape_err: Any,
    n_importance: int,
    wanted_ess: float,
    stream: Any,
    coarse: Any,
    coarse_states: Any,
    coarse_low: Any,
    coarse_high: Any,
    coarse_volume: Any,
    cumulative: Any,
    young: Any,
    axes: Any,
    table: Any,
    start: Any,
    n_log_u: Any,
    row_a: Any,
    row_b: Any,
    mix: Any,
    z_nodes: Any,
    u_nodes: Any,
    av_grid: Any,
    kind: int,
    m: Any,
    tail: Any,
    nodes: Any,
) -> None:
    """Fit one source; write draws, their states and fluxes, the report and the best model.

    ``draws``: (n, 4) metallicity, A_V, log U, ln M; ``report``: log evidence, ESS, rounds, cells, importance draws;
    ``best``: state, metallicity, A_V, log U, mass, chi-squared.
    """
    n_band, n_col = flux_njy.size, coarse.shape[0]
    work = np.empty((3, 40 * nodes.shape[1]))
    flux = np.empty(n_col)
    n_coarse = coarse_volume.size
    posterior = np.empty(n_coarse)
    data = np.zeros((3, n_band + 1))
    data[0, n_band] = 1.0
    common = np.zeros(n_band)
    has_common = False
    scale = np.zeros(n_band)
    smallest, brightest = np.inf, 0.0
    for k in range(n_band):
        if sigma[k] < np.inf:
            brightest = max(brightest, abs(flux_njy[k]))
    for k in range(n_band):
        if sigma[k] < np.inf:
            has_common = has_common or shape_err[k] > 0.0
            # A band in which a bright source vanishes also tells cells apart.
            scale[k] = max(abs(flux_njy[k]), 0.05 * brightest)
            if scale[k] > 0.0:
                smallest = min(smallest, sigma[k] / scale[k])
    # The cells of the coarse grid differ by some 15 % in flux from their middles: smaller errors are approached in steps.
    delta = 0.15 if smallest < 0.1 else 0.0
    best_cell = 0
    for turn in range(2 if has_common else 1):
        _weights(data, flux_njy, sigma, scale, common, delta)
        coarse_posterior(posterior, coarse, coarse_volume, data, n_band, kind, m, tail, nodes, work)
        best_cell = int(np.argmax(posterior))
        if has_common and turn == 0:
            _common_error(common, coarse, best_cell, flux_njy, sigma, shape_err)
    capacity = n_coarse + 40000
    states = np.empty((capacity, 2), dtype=np.int64)
    low = np.empty((capacity, 3))
    high = np.empty((capacity, 3))
    volume = np.empty(capacity)
    value = np.empty(capacity)
    done = np.zeros(capacity, dtype=np.int8)
    peak = posterior[best_cell]
    n_cell = 0
    for i in range(n_coarse):
        if posterior[i] > peak - 18.0:
            states[n_cell, 0], states[n_cell, 1] = coarse_states[i, 0], coarse_states[i, 1]
            for d in range(3):
                low[n_cell, d], high[n_cell, d] = coarse_low[i, d], coarse_high[i, d]
            volume[n_cell] = coarse_volume[i]
            value[n_cell] = posterior[i] - coarse_volume[i]
            n_cell += 1
    tolerance = 1.0
    while True:
        n_cell = refine(
            n_cell, states, low, high, volume, value, done, tolerance, 4e-4, 16, data, n_band, cumulative, young, axes,
            table, start, n_log_u, row_a, row_b, mix, z_nodes, u_nodes, av_grid, kind, m, tail, nodes, work, flux,
        )  # fmt: skip
        if delta == 0.0:
            break
        delta = delta / 3.0
        if delta < 1.5 * smallest:
            delta = 0.0
        if has_common:
            # The best model so far sets the size of the common error.
            i = _best_cell(value, n_cell)
            _flux_of_cell(
                flux, i, states, low, high, cumulative, axes, table, start, n_log_u, row_a, row_b, mix, z_nodes, u_nodes,
                av_grid,
            )  # fmt: skip
            coarse_one = np.empty((n_col, 1), dtype=np.float32)
            for c in range(n_col):
                coarse_one[c, 0] = flux[c]
            _common_error(common, coarse_one, 0, flux_njy, sigma, shape_err)
        _weights(data, flux_njy, sigma, scale, common, delta)
        n_kept = 0
        peak = -np.inf
        for i in range(n_cell):
            peak = max(peak, value[i] + volume[i])
        for i in range(n_cell):
            if value[i] + volume[i] > peak - 18.0:
                states[n_kept, 0], states[n_kept, 1] = states[i, 0], states[i, 1]
                for d in range(3):
                    low[n_kept, d], high[n_kept, d] = low[i, d], high[i, d]
                volume[n_kept] = volume[i]
                _flux_of_cell(
                    flux, n_kept, states, low, high, cumulative, axes, table, start, n_log_u, row_a, row_b, mix, z_nodes,
                    u_nodes, av_grid,
                )  # fmt: skip
                value[n_kept] = log_likelihood(flux, data, n_band, kind, m, tail, nodes, work)
                done[n_kept] = 0
                n_kept += 1
        n_cell = n_kept
    # Importance draws inside the cells from the exact model; finer cells and more draws while too few of them count.
    constant = _data_constant(data, flux_njy, sigma, n_band)
    n_draw = n_importance
    rounds = 0
    while True:
        rounds += 1
        where = np.empty(n_draw, dtype=np.int64)
        place = np.empty((n_draw, 3))
        weight = np.empty(n_draw)
        norm_a = np.empty(n_draw)
        norm_b = np.empty(n_draw)
        share = np.empty(n_cell)
        top = -np.inf
        for i in range(n_cell):
            top = max(top, value[i] + volume[i])
        total, total_half = 0.0, 0.0
        for i in range(n_cell):
            share[i] = math.exp(value[i] + volume[i] - top)
            total += share[i]
            total_half += math.sqrt(share[i])
        for i in range(n_cell):
            # A tenth of the draws goes to cells in proportion to the root of their mass, lest one be underrated.
            share[i] = 0.9 * share[i] / total + 0.1 * math.sqrt(share[i]) / total_half
        offset = next_uniform(stream)
        cell = 0
        reached = share[0]
        constant_chi2 = 0.0
        for k in range(n_band):
            constant_chi2 += data[1, k] * flux_njy[k]
        constant_chi2 -= data[1, n_band] * data[1, n_band] / data[0, n_band]
        largest = -np.inf
        for r in range(n_draw):
            goal = (r + offset) / n_draw
            while reached < goal and cell < n_cell - 1:
                cell += 1
                reached += share[cell]
            s0, s1 = states[cell, 0], states[cell, 1]
            whole = cumulative[s1] - cumulative[s0]
            mark = cumulative[s0] + next_uniform(stream) * whole
            while s1 - s0 > 1:
                half = (s0 + s1) // 2
                if cumulative[half] <= mark:
                    s0 = half
                else:
                    s1 = half
            where[r] = s0
            log_prior = math.log(whole)
            for d in range(3):
                width = high[cell, d] - low[cell, d]
                x = low[cell, d] + next_uniform(stream) * width
                if width > 0.0:
                    log_prior += math.log(width) + axis_density(axes, d, x)
                place[r, d] = axis_value(axes, d, x)
            model_at(
                flux, table, start, n_log_u, row_a, row_b, mix, z_nodes, u_nodes, av_grid, s0, place[r, 0], place[r, 1],
                place[r, 2],
            )  # fmt: skip
            a, b = products(flux, data, n_band)
            norm_a[r], norm_b[r] = a, b
            weight[r] = log_mass_integral(a, b, kind, m, tail, nodes, work) + log_prior - math.log(share[cell])
            largest = max(largest, weight[r])
        total, total_square = 0.0, 0.0
        for r in range(n_draw):
            weight[r] = math.exp(weight[r] - largest)
            total += weight[r]
            total_square += weight[r] * weight[r]
        ess = total * total / total_square
        if ess >= wanted_ess or rounds >= 5 or n_cell >= capacity:
            break
        tolerance *= 0.5
        for i in range(n_cell):
            done[i] = 0
        n_cell = refine(
            n_cell, states, low, high, volume, value, done, tolerance, 1e-4, 16, data, n_band, cumulative, young, axes,
            table, start, n_log_u, row_a, row_b, mix, z_nodes, u_nodes, av_grid, kind, m, tail, nodes, work, flux,
        )  # fmt: skip
        n_draw = min(2 * n_draw, 16 * n_importance)
    report[0] = largest + math.log(total / n_draw) + constant
    report[1] = ess
    report[2] = rounds
    report[3] = n_cell
    report[4] = n_draw
    # Draws of equal weight, in the order of the cells; copies of one draw have masses of their own.
    n_out = draws.shape[0]
    offset = next_uniform(stream)
    reached, r = weight[0], 0
    for i in range(n_out):
        goal = (i + offset) / n_out * total
        while reached < goal and r < n_draw - 1:
            r += 1
            reached += weight[r]
        draw_states[i] = where[r]
        for d in range(3):
            draws[i, d] = place[r, d]
        draws[i, 3] = draw_log_mass(norm_a[r], norm_b[r], kind, m, nodes, work, stream)
        model_at(
            flux, table, start, n_log_u, row_a, row_b, mix, z_nodes, u_nodes, av_grid, where[r], place[r, 0], place[r, 1],
            place[r, 2],
        )  # fmt: skip
        mass = math.exp(draws[i, 3])
        for c in range(draw_flux.shape[1]):
            draw_flux[i, c] = mass * flux[c]
    # The best model: the best draw, then steps along the axes that shrink when none helps.
    best_value, r_best = -np.inf, 0
    for r in range(n_draw):
        goodness = _goodness(norm_a[r], norm_b[r], kind, m)
        for d in range(3):
            if axes[d, 4] > 0.0:
                x = math.log(place[r, d]) if axes[d, 2] > 0.0 else place[r, d]
                goodness += axis_density(axes, d, x)
        if goodness > best_value:
            best_value, r_best = goodness, r
    state = where[r_best]
    point = np.empty(3)
    step = np.empty(3)
    for d in range(3):
        point[d] = math.log(place[r_best, d]) if axes[d, 2] > 0.0 else place[r_best, d]
        step[d] = 0.05 * (axes[d, 1] - axes[d, 0])
    state_step = max(1, cumulative.size // 100)
    trial = np.empty(3)
    for _turn in range(60):
        improved = False
        for d in range(4):
            if d < 3 and step[d] <= 0.0:
                continue
            for side in range(2):
                new_state = state
                for e in range(3):
                    trial[e] = point[e]
                if d == 3:
                    new_state = min(max(state + (state_step if side == 1 else -state_step), 0), cumulative.size - 2)
                    if cumulative[new_state + 1] <= cumulative[new_state]:
                        continue
                else:
                    trial[d] = min(max(point[d] + (step[d] if side == 1 else -step[d]), axes[d, 0]), axes[d, 1])
                model_at(
                    flux, table, start, n_log_u, row_a, row_b, mix, z_nodes, u_nodes, av_grid, new_state,
                    axis_value(axes, 0, trial[0]), axis_value(axes, 1, trial[1]), axis_value(axes, 2, trial[2]),
                )  # fmt: skip
                a, b = products(flux, data, n_band)
                goodness = _goodness(a, b, kind, m)
                for e in range(3):
                    if axes[e, 4] > 0.0:
                        goodness += axis_density(axes, e, trial[e])
                if goodness > best_value:
                    best_value = goodness
                    state = new_state
                    for e in range(3):
                        point[e] = trial[e]
                    improved = True
                    break
        if not improved:
            state_step = max(1, state_step // 2)
            for d in range(3):
                step[d] *= 0.5
    model_at(
        flux, table, start, n_log_u, row_a, row_b, mix, z_nodes, u_nodes, av_grid, state, axis_value(axes, 0, point[0]),
        axis_value(axes, 1, point[1]), axis_value(axes, 2, point[2]),
    )  # fmt: skip
    a, b = products(flux, data, n_band)
    log_mass = _best_log_mass(a, b, kind, m)
    mass = math.exp(log_mass)
    best[0] = state
    best[1] = axis_value(axes, 0, point[0])
    best[2] = axis_value(axes, 1, point[1])
    best[3] = axis_value(axes, 2, point[2])
    best[4] = log_mass
    best[5] = constant_chi2 - 2.0 * mass * b + mass * mass * a
    for c in range(n_col):
        best[6 + c] = mass * flux[c]


def _best_log_mass(a: float, b: float, kind: int, m: Any) -> float:
    """Return ln of the mass of the largest likelihood within the limits, times the prior where it is a Gaussian."""
    if kind == FIXED:
        return m[0]
    value = math.log(b / a) if (b > 0.0 and a > 0.0) else m[0]
    if kind == GAUSSIAN:
        # Newton on the derivative, held between the two maxima.
        lower, upper = min(value, m[2]), max(value, m[2])
        for _ in range(60):
            value = 0.5 * (lower + upper)
            x = math.exp(value)
            if x * b - x * x * a - (value - m[2]) / (m[3] * m[3]) > 0.0:
                lower = value
            else:
                upper = value
    return min(max(value, m[0]), m[1])


def _goodness(a: float, b: float, kind: int, m: Any) -> float:
    """Return the log likelihood at the best mass, with a Gaussian prior of it."""
    u = _best_log_mass(a, b, kind, m)
    x = math.exp(u)
    value = x * b - 0.5 * x * x * a
    if kind == GAUSSIAN:
        t = (u - m[2]) / m[3]
        value -= 0.5 * t * t
    return value


def _weights(data: Any, flux_njy: Any, sigma: Any, scale: Any, common: Any, delta: float) -> None:
    """Write weights and weighted fluxes; ``delta`` is a fraction of the flux added to the errors for the search alone."""
    n_band = flux_njy.size
    total, cross = 1.0, 0.0
    for k in range(n_band):
        w = 1.0 / (sigma[k] * sigma[k] + delta * delta * scale[k] * scale[k]) if sigma[k] < np.inf else 0.0
        data[0, k] = w
        data[1, k] = w * flux_njy[k]
        data[2, k] = w * common[k]
        total += w * common[k] * common[k]
        cross += w * common[k] * flux_njy[k]
    data[0, n_band] = total
    data[1, n_band] = cross
    data[2, n_band] = 1.0 if total > 1.0 else 0.0


def _common_error(common: Any, fluxes: Any, cell: int, flux_njy: Any, sigma: Any, shape_err: Any) -> None:
    """Write the common error of each band [nJy]: its fraction of the model of a cell at its best mass."""
    a, b = 0.0, 0.0
    for k in range(flux_njy.size):
        if sigma[k] < np.inf:
            w = 1.0 / (sigma[k] * sigma[k])
            f = float(fluxes[k, cell])
            a += w * f * f
            b += w * f * flux_njy[k]
    mass = b / a if (b > 0.0 and a > 0.0) else 0.0
    for k in range(flux_njy.size):
        common[k] = shape_err[k] * mass * float(fluxes[k, cell])


def _best_cell(value: Any, n_cell: int) -> int:
    """Return the cell of the largest likelihood."""
    best = 0
    for i in range(n_cell):
        if value[i] > value[best]:
            best = i
    return best


def _flux_of_cell(
    flux: Any, i: int, states: Any, low: Any, high: Any, cumulative: Any, axes: Any, table: Any, start: Any, n_log_u: Any,
    row_a: Any, row_b: Any, mix: Any, z_nodes: Any, u_nodes: Any, av_grid: Any,
) -> None:  # fmt: skip
    """Write the fluxes at the middle of a cell."""
    model_at(
        flux, table, start, n_log_u, row_a, row_b, mix, z_nodes, u_nodes, av_grid,
        representative(cumulative, states[i, 0], states[i, 1]),
        axis_value(axes, 0, 0.5 * (low[i, 0] + high[i, 0])), axis_value(axes, 1, 0.5 * (low[i, 1] + high[i, 1])),
        axis_value(axes, 2, 0.5 * (low[i, 2] + high[i, 2])),
    )  # fmt: skip


def _data_constant(data: Any, flux_njy: Any, sigma: Any, n_band: int) -> float:
    """Return the part of the log likelihood that the data alone decide, in densities per nJy."""
    value = -0.5 * math.log(data[0, n_band])
    for k in range(n_band):
        if sigma[k] < np.inf:
            value -= _HALF_LOG_2PI + math.log(sigma[k]) + 0.5 * data[1, k] * flux_njy[k]
    return value + 0.5 * data[1, n_band] * data[1, n_band] / data[0, n_band]


#: In the order in which they call each other.
HELPERS = (
    next_uniform,
    axis_value,
    axis_density,
    model_at,
    mass_edges,
    log_mass_panels,
    log_mass_integral,
    _draw_between,
    draw_log_mass,
    products,
    log_likelihood,
    representative,
    coarse_posterior,
    refine,
    _best_log_mass,
    _goodness,
    _weights,
    _common_error,
    _best_cell,
    _flux_of_cell,
    _data_constant,
)
