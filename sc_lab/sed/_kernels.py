"""Inner loops of the grid engine, in plain Python that numba compiles: model fluxes, mass integrals, cells, draws.

They are in one file because the compiler's cache on disk notices changes of the file of the function that is called.
What several of them take:

``grid``, a tuple of arrays that no source changes:

- ``table``: flat float32, one block per row, laid out (metallicity, log U, A_V, column); a column is a band,
  then the V band, then zeros up to a multiple of four;
- ``start``, ``n_log_u``: where the block of a row begins and how many log U it has (1 where gas does not matter);
- ``row_a``, ``row_b``, ``mix``: an age state is ``(1 - mix) * row_a + mix * row_b``; the two columns of ``mix`` are its
  values at the younger and older end of the state, between which it is a line;
- ``z_nodes``, ``u_nodes``: nodes of metallicity and log U; ``av_grid``: first value, step and number of those of A_V;
- ``axes``: three rows, of metallicity, A_V and log U: low, high, whether the coordinate is the natural logarithm,
  and mean and sigma of a Gaussian density (sigma 0: flat), then the logarithm of its norm;
- ``cumulative``: prior probability of ages below each edge of the states; ``young``: whether a state has gas.

``mass``, a tuple: kind of the prior of log mass, its numbers ``m`` (ln of the lower and upper limit of the mass, mean
and sigma in ln M, logarithm of the norm of its density in ln M, and the two limits themselves), the table ``tail`` of the
mass integral and the ``nodes`` of its panels.

``data``: rows weight 1/sigma^2, weight times flux, weight times common error; its last column holds in row 0 one plus the
sum of weighted squares of the common error, in row 1 the sum of weight, flux and common error.

A point has the coordinates of ``axes`` and, fourth, the prior probability of smaller ages. Cells are boxes of points.
"""

# The compiler types the loops; to mypy their arrays are Any.
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__: list[str] = []  # called by the modules beside it alone

#: Kinds of prior of log mass.
UNIFORM, GAUSSIAN, FIXED, LOG_UNIFORM = 0, 1, 2, 3
#: Above this significance the asymptotic series of the mass integral is exact to 1e-6.
_SERIES_FROM = 8.0
_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
_EULER = 0.5772156649015329
#: Cells whose log posterior mass is further below the best are left out: 3e4 of them hold 5e-4 of the best one's.
_NEGLIGIBLE = 18.0
#: Cells of the coarse grid differ by about so much in flux from their middles; smaller errors are approached in steps.
_COARSE_ERROR = 0.12
#: Steepest slope of the log likelihood across a cell that draws follow.
_STEEPEST = 5.0
#: An axis whose slope and bend are below this part of what splits a cell is not looked at again.
_FLAT = 0.15
#: What the estimate of a cell that was not looked at may be wrong by.
_MARGIN = 2.0
#: What splits a cell: a slope or bend that many times too steep to follow, in a cell that may hold so much of the whole.
#: Half as much of both gives twice as many cells, and effective draws from 65 % of all instead of half.
_TOLERANCE, _CUT = 2.0, 1e-3
#: Cells that may be added to the coarse ones.
_MORE_CELLS = 40_000


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


def _state_at(cumulative: Any, place: float) -> int:
    """Return the age state in which a prior probability of smaller ages lies."""
    state, top = 0, cumulative.size - 1
    while top - state > 1:
        half = (state + top) // 2
        if cumulative[half] <= place:
            state = half
        else:
            top = half
    return state


def _bracket(nodes: Any, x: float) -> tuple[int, float]:
    """Return the node before a value and the share of the next; constant beyond the last ones."""
    i = 0
    while i < nodes.size - 2 and x > nodes[i + 1]:
        i += 1
    return i, min(max((x - nodes[i]) / (nodes[i + 1] - nodes[i]), 0.0), 1.0)


def _in_dust(av_grid: Any, a_v: float) -> tuple[int, float, float, float, float]:
    """Return the first of four nodes of A_V and the weights of four-point Lagrange interpolation between them."""
    p = (a_v - av_grid[0]) / av_grid[1]
    first = min(max(int(p) - 1, 0), int(av_grid[2]) - 4)
    t = p - first
    return (
        first,
        -(t - 1.0) * (t - 2.0) * (t - 3.0) / 6.0,
        t * (t - 2.0) * (t - 3.0) / 2.0,
        -t * (t - 1.0) * (t - 3.0) / 2.0,
        t * (t - 1.0) * (t - 2.0) / 6.0,
    )


def model_at(out: Any, point: Any, grid: Any) -> None:
    """Write the fluxes of unit mass at a point into ``out``, shape (n_column,)."""
    table, start, n_log_u, row_a, row_b, mix, z_nodes, u_nodes, av_grid, axes, cumulative, _young = grid
    n_z, n_u, n_col = z_nodes.size, u_nodes.size, out.size
    n_av = int(av_grid[2])
    for c in range(n_col):
        out[c] = 0.0
    # The age state, and how far the mix has gone in it.
    state = _state_at(cumulative, point[3])
    inside = (point[3] - cumulative[state]) / (cumulative[state + 1] - cumulative[state])
    last = mix[state, 0] + inside * (mix[state, 1] - mix[state, 0])
    # Metallicity and log U are linear between nodes.
    iz, fz, iu, fu = 0, 0.0, 0, 0.0
    if n_z > 1:
        iz, fz = _bracket(z_nodes, axis_value(axes, 0, point[0]))
    if n_u > 1:
        iu, fu = _bracket(u_nodes, axis_value(axes, 2, point[2]))
    ia, w0, w1, w2, w3 = _in_dust(av_grid, axis_value(axes, 1, point[1]))
    for part in range(2):
        row = row_a[state] if part == 0 else row_b[state]
        share = 1.0 - last if part == 0 else last
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
                # Slices spare the compiler the check for negative indices, which would keep it from vector code.
                end = base + 4 * n_col
                near = table[base:end]
                f0, f1, f2, f3 = near[:n_col], near[n_col : 2 * n_col], near[2 * n_col : 3 * n_col], near[3 * n_col :]
                for c in range(n_col):
                    out[c] += v0 * f0[c] + v1 * f1[c] + v2 * f2[c] + v3 * f3[c]


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
        # Where prior and data disagree, the peak lies between theirs.
        peak = _best_log_mass(a, b, kind, m)
        x = math.exp(peak)
        width = 1.0 / math.sqrt(max(2.0 * x * x * a - x * b, 0.0) + 1.0 / (m[3] * m[3]))
        for shift in (-7.0, -3.0, 0.0, 3.0, 7.0):
            edges[n] = peak + shift * width
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
    """Return the logarithm of the prior average of exp(M b - M^2 a / 2)."""
    if kind == FIXED:
        x = m[5]
        return x * b - 0.5 * x * x * a
    if a <= 0.0:
        return 0.0
    root = math.sqrt(a)
    s = b / root
    if kind == UNIFORM:
        x_low, x_high = root * m[5], root * m[6]
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
                # The polynomials share no root with their neighbours, so that two small terms end the series.
                if (abs(now) + abs(before)) * power < 1e-13:
                    break
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
        x_low, x_high = root * m[5], root * m[6]
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
    """Return sum F^2 w and sum F f w for unit-mass fluxes F, the weights those of the whole covariance."""
    a, b, cross = 0.0, 0.0, 0.0
    for k in range(n_band):
        a += flux[k] * flux[k] * data[0, k]
        b += flux[k] * data[1, k]
        cross += flux[k] * data[2, k]
    return a - cross * cross / data[0, n_band], b - cross * data[1, n_band] / data[0, n_band]


def evaluate(points: Any, n: int, result: Any, data: Any, n_band: int, grid: Any, mass: Any, work: Any) -> None:
    """Write log likelihood (less the constant of the data), a and b of ``n`` points into the rows of ``result``."""
    kind, m, tail, nodes = mass
    flux = np.empty(4 * ((n_band + 4) // 4))
    for i in range(n):
        model_at(flux, points[i], grid)
        a, b = products(flux, data, n_band)
        result[i, 0] = log_mass_integral(a, b, kind, m, tail, nodes, work)
        result[i, 1] = a
        result[i, 2] = b


def coarse_fluxes(out: Any, low: Any, high: Any, layout: Any, grid: Any) -> None:
    """Write the fluxes at the middles of the coarse cells into ``out``, float32 of shape (n_column, n_cell).

    What `model_at` gives at each, but worked out axis by axis: cells that differ in metallicity or log U alone share
    the mix of the two rows and the interpolation in A_V.
    """
    table, start, n_log_u, row_a, row_b, mix, z_nodes, u_nodes, av_grid, axes, cumulative, _young = grid
    n_z, n_u, n_col, n_av = z_nodes.size, u_nodes.size, out.shape[0], int(av_grid[2])
    for block in range(2):
        first = layout[block, 0]
        if (block == 0 and layout[1, 0] == 0) or first >= out.shape[1]:
            continue  # all cells are in the other block
        steps, counts = layout[block, 1:5], layout[block, 5:9]
        z_at, z_part = np.zeros(counts[0], dtype=np.int64), np.zeros(counts[0])
        for k in range(counts[0] if n_z > 1 else 0):
            i = first + k * steps[0]
            z_at[k], z_part[k] = _bracket(z_nodes, axis_value(axes, 0, 0.5 * (low[i, 0] + high[i, 0])))
        u_at, u_part = np.zeros(counts[2], dtype=np.int64), np.zeros(counts[2])
        for k in range(counts[2] if n_u > 1 else 0):
            i = first + k * steps[2]
            u_at[k], u_part[k] = _bracket(u_nodes, axis_value(axes, 2, 0.5 * (low[i, 2] + high[i, 2])))
        dusty = np.empty((n_z, n_u, counts[1], n_col))
        flux = np.empty(n_col)
        for age in range(counts[3]):
            i = first + age * steps[3]
            place = 0.5 * (low[i, 3] + high[i, 3])
            state = _state_at(cumulative, place)
            inside = (place - cumulative[state]) / (cumulative[state + 1] - cumulative[state])
            last = mix[state, 0] + inside * (mix[state, 1] - mix[state, 0])
            has_u = False
            for part in range(2):
                share = 1.0 - last if part == 0 else last
                if share > 0.0 and n_log_u[row_a[state] if part == 0 else row_b[state]] > 1:
                    has_u = True
            dusty[:] = 0.0
            for part in range(2):
                row = row_a[state] if part == 0 else row_b[state]
                share = 1.0 - last if part == 0 else last
                if share == 0.0:
                    continue
                n_k = n_log_u[row]
                for ka in range(counts[1]):
                    i = first + ka * steps[1]
                    ia, w0, w1, w2, w3 = _in_dust(av_grid, axis_value(axes, 1, 0.5 * (low[i, 1] + high[i, 1])))
                    w0, w1, w2, w3 = share * w0, share * w1, share * w2, share * w3
                    for jz in range(n_z):
                        for ju in range(n_u if has_u else 1):
                            base = start[row] + ((jz * n_k + (ju if n_k > 1 else 0)) * n_av + ia) * n_col
                            near = table[base : base + 4 * n_col]
                            f0, f1 = near[:n_col], near[n_col : 2 * n_col]
                            f2, f3 = near[2 * n_col : 3 * n_col], near[3 * n_col :]
                            sums = dusty[jz, ju, ka]
                            for c in range(n_col):
                                sums[c] += w0 * f0[c] + w1 * f1[c] + w2 * f2[c] + w3 * f3[c]
            for kz in range(counts[0]):
                for ka in range(counts[1]):
                    for ku in range(counts[2]):
                        for c in range(n_col):
                            flux[c] = 0.0
                        for jz in range(2 if z_part[kz] > 0.0 else 1):
                            wz = z_part[kz] if jz == 1 else 1.0 - z_part[kz]
                            for ju in range(2 if has_u and u_part[ku] > 0.0 else 1):
                                w = wz
                                if has_u:
                                    w *= u_part[ku] if ju == 1 else 1.0 - u_part[ku]
                                sums = dusty[z_at[kz] + jz, u_at[ku] + ju if has_u else 0, ka]
                                for c in range(n_col):
                                    flux[c] += w * sums[c]
                        i = first + age * steps[3] + kz * steps[0] + ka * steps[1] + ku * steps[2]
                        for c in range(n_col):
                            out[c, i] = flux[c]


def _coarse_posterior(out: Any, fluxes: Any, volume: Any, data: Any, n_band: int, mass: Any, work: Any) -> float:
    """Write the log posterior mass of all coarse cells, minus infinity where negligible; return the maximum."""
    kind, m, tail, nodes = mass
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
            part = fluxes[k, first : first + size]
            if common:
                for i in range(size):
                    f = float(part[i])
                    a[i] += f * f * w
                    b[i] += f * wf
                    c[i] += f * wv
            else:
                for i in range(size):
                    f = float(part[i])
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
    for turn in range(2):
        for i in range(n):
            near = bound[i] > top - 4.0
            if turn == 0:
                out[i] = -np.inf
            if (turn == 0 and near) or (turn == 1 and not near and bound[i] > best - _NEGLIGIBLE - 4.0):
                out[i] = log_mass_integral(keep_a[i], keep_b[i], kind, m, tail, nodes, work) + volume[i]
                best = max(best, out[i])
    return best


def _roughness(slope: Any, bend: Any, i: int) -> tuple[float, int]:
    """Return how far a cell's log likelihood is from a line that draws can follow, and the axis where it is furthest."""
    worst, which = 0.0, 0
    for d in range(4):
        rough = max(abs(slope[i, d]) / 3.0, abs(bend[i, d]) / 8.0)
        if rough > worst:
            worst, which = rough, d
    return worst, which


def _score(value: float, slope: Any, bend: Any, i: int) -> float:
    """Return the log of the mean likelihood in a cell, from its middle, slopes and bends."""
    total = value
    for d in range(4):
        # ln of the mean of exp(g t) over a unit interval, 2 sinh(g / 2) / g; by its series where that is good to 2e-4.
        g = min(abs(slope[i, d]), 12.0)
        if g < 2.5:
            q = g * g
            total += q * (1.0 / 24.0 - q * (1.0 / 2880.0 - q / 181440.0))
        else:
            total += 0.5 * g + math.log((1.0 - math.exp(-g)) / g)
        total += min(max(bend[i, d] / 24.0, -1.0), 1.0)
    return total


def _promise(slope: Any, bend: Any, i: int) -> float:
    """Return how far the mean log likelihood of a cell may lie above that of its middle, by its slopes and bends."""
    rise = _MARGIN
    for d in range(4):
        g, h = abs(slope[i, d]), bend[i, d]
        if g < -0.5 * h:
            # A peak inside: its height and its width.
            rise += 0.5 * g * g / -h + min(0.0, 0.5 * math.log(2.0 * math.pi / -h))
        elif g + 0.25 * h > 0.0:
            # The face of the cell, and the depth to which it reaches.
            rise += 0.5 * g + 0.125 * h - math.log(max(g + 0.25 * h, 1.0))
    return rise


def _coarse_slopes(
    slope: Any, bend: Any, k: int, i: int, posterior: Any, volume: Any, strides: Any, counts: Any, first: int
) -> None:
    """Estimate slopes and bends of coarse cell ``i`` from its neighbours in the grid."""
    here = posterior[i] - volume[i]
    place = i - first
    for d in range(4):
        slope[k, d], bend[k, d] = 0.0, 0.0
        step, count = strides[d], counts[d]
        if count < 2:
            continue
        index = (place // step) % count
        lower, upper = -np.inf, -np.inf
        if index > 0:
            lower = posterior[i - step] - volume[i - step]
        if index < count - 1:
            upper = posterior[i + step] - volume[i + step]
        if lower > -np.inf and upper > -np.inf:
            slope[k, d] = 0.5 * (upper - lower)
            bend[k, d] = upper + lower - 2.0 * here
        elif upper > -np.inf:
            slope[k, d] = upper - here
        elif lower > -np.inf:
            slope[k, d] = here - lower


def _refine(
    n_cell: int, low: Any, high: Any, volume: Any, value: Any, score: Any, slope: Any, bend: Any, done: Any,
    tolerance: float, cut: float, max_level: int, data: Any, n_band: int, grid: Any, mass: Any, work: Any,
) -> int:  # fmt: skip
    """Split cells that hold posterior mass until the likelihood changes along lines in them; return their number."""
    axes = grid[9]
    capacity = value.size
    points, result = np.empty((8, 4)), np.empty((8, 3))
    below = np.zeros(4, dtype=np.int64)
    # The most that each cell may hold; it changes only with the cell.
    hope = np.empty(capacity)
    for i in range(n_cell):
        hope[i] = max(value[i] + _promise(slope, bend, i), score[i]) + volume[i]
    for _level in range(max_level):
        top = -np.inf
        for i in range(n_cell):
            top = max(top, score[i] + volume[i])
        total = 0.0
        for i in range(n_cell):
            total += math.exp(score[i] + volume[i] - top)
        edge = top + math.log(total * cut)
        n_before = n_cell
        for i in range(n_before):
            if done[i] == 1 or hope[i] < edge:
                continue
            rough, which = _roughness(slope, bend, i)
            if rough < tolerance and done[i] == 0:
                done[i] = 1
                continue
            # Two points on each axis on which anything changes, a quarter of the cell from its middle.
            n_point = 0
            for d in range(4):
                if max(abs(slope[i, d]) / 3.0, abs(bend[i, d]) / 8.0) < _FLAT * tolerance:
                    continue
                for side in range(2):
                    for e in range(4):
                        points[n_point, e] = 0.5 * (low[i, e] + high[i, e])
                    points[n_point, d] += (0.5 * side - 0.25) * (high[i, d] - low[i, d])
                    n_point += 1
                below[d] = n_point - 2
            evaluate(points, n_point, result, data, n_band, grid, mass, work)
            for d in range(4):
                if max(abs(slope[i, d]) / 3.0, abs(bend[i, d]) / 8.0) >= _FLAT * tolerance:
                    lower, upper = result[below[d], 0], result[below[d] + 1, 0]
                    slope[i, d] = 2.0 * (upper - lower)
                    bend[i, d] = 16.0 * (upper + lower - 2.0 * value[i])
            score[i] = _score(value[i], slope, bend, i)
            rough, which = _roughness(slope, bend, i)
            if rough < tolerance:
                done[i] = 1
                continue
            if n_cell >= capacity:
                return n_cell
            # The upper half goes to a new cell, the lower one stays; both carry on the line of the slope.
            j = n_cell
            n_cell += 1
            g, h = slope[i, which], bend[i, which]
            for d in range(4):
                low[j, d], high[j, d] = low[i, d], high[i, d]
                slope[j, d], bend[j, d] = slope[i, d], bend[i, d]
            middle = 0.5 * (low[i, which] + high[i, which])
            width = middle - low[i, which]
            high[i, which] = middle
            low[j, which] = middle
            slope[i, which], slope[j, which] = 0.5 * (g - 0.25 * h), 0.5 * (g + 0.25 * h)
            bend[i, which], bend[j, which] = 0.25 * h, 0.25 * h
            volume[i] -= math.log(2.0)
            volume[j] = volume[i]
            if which < 3:
                at = axis_density(axes, which, middle)
                volume[i] += axis_density(axes, which, middle - 0.5 * width) - at
                volume[j] += axis_density(axes, which, middle + 0.5 * width) - at
            value[i], value[j] = result[below[which], 0], result[below[which] + 1, 0]
            score[i], score[j] = _score(value[i], slope, bend, i), _score(value[j], slope, bend, j)
            done[i], done[j] = 0, 0
            hope[i] = max(value[i] + _promise(slope, bend, i), score[i]) + volume[i]
            hope[j] = max(value[j] + _promise(slope, bend, j), score[j]) + volume[j]
        if n_cell == n_before:
            break
    return n_cell


def fit_source(
    draws: Any,
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
    coarse_low: Any,
    coarse_high: Any,
    coarse_volume: Any,
    layout: Any,
    grid: Any,
    mass: Any,
) -> None:
    """Fit one source; write draws and their fluxes, the report and the best model.

    ``draws``: (n, 5) coordinates of the point and ln M; ``report``: log evidence, ESS, rounds, cells, importance draws;
    ``best``: coordinates, ln M, chi-squared, fluxes. ``layout``: for each of the two blocks of coarse cells the first
    cell, the strides of the four axes and their counts.
    """
    kind, m, _tail, nodes = mass
    axes = grid[9]
    n_band, n_col = flux_njy.size, coarse.shape[0]
    work = np.empty((3, 40 * nodes.shape[1]))
    n_coarse = coarse_volume.size
    posterior = np.empty(n_coarse)
    data = np.zeros((3, n_band + 1))
    common = np.zeros(n_band)
    scale = np.zeros(n_band)
    has_common = False
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
    delta = _COARSE_ERROR if smallest < 0.08 else 0.0
    scaling = 0.0
    flux, point = np.empty(n_col), np.empty(4)
    for turn in range(2 if has_common else 1):
        _weights(data, flux_njy, sigma, scale, common, delta)
        _coarse_posterior(posterior, coarse, coarse_volume, data, n_band, mass, work)
        if has_common and turn == 0:
            best_cell = int(np.argmax(posterior))
            for c in range(n_col):
                flux[c] = coarse[c, best_cell]
            scaling = _common_error(common, flux, flux_njy, sigma, shape_err, kind)
    peak = posterior.max()
    capacity = n_coarse + _MORE_CELLS
    low, high = np.empty((capacity, 4)), np.empty((capacity, 4))
    slope, bend = np.empty((capacity, 4)), np.empty((capacity, 4))
    volume, value, score = np.empty(capacity), np.empty(capacity), np.empty(capacity)
    done = np.zeros(capacity, dtype=np.int8)
    n_cell = 0
    for i in range(n_coarse):
        if posterior[i] > peak - _NEGLIGIBLE:
            for d in range(4):
                low[n_cell, d], high[n_cell, d] = coarse_low[i, d], coarse_high[i, d]
            volume[n_cell] = coarse_volume[i]
            value[n_cell] = posterior[i] - coarse_volume[i]
            block = 1 if i >= layout[1, 0] else 0
            _coarse_slopes(
                slope,
                bend,
                n_cell,
                i,
                posterior,
                coarse_volume,
                layout[block, 1:5],
                layout[block, 5:9],
                layout[block, 0],
            )
            score[n_cell] = _score(value[n_cell], slope, bend, n_cell)
            n_cell += 1
    tolerance = _TOLERANCE
    while True:
        n_cell = _refine(
            n_cell, low, high, volume, value, score, slope, bend, done, tolerance, _CUT, 16, data, n_band, grid, mass, work
        )  # fmt: skip
        if delta == 0.0:
            break
        before = smallest * smallest + delta * delta
        delta = 0.4 * delta
        if delta < 1.5 * smallest:
            delta = 0.0
        steeper = before / (smallest * smallest + delta * delta)
        peak, top = -np.inf, 0
        for i in range(n_cell):
            if value[i] > value[top]:
                top = i
            peak = max(peak, score[i] + volume[i])
        if has_common:
            # The best model so far sets the size of the common error.
            for d in range(4):
                point[d] = 0.5 * (low[top, d] + high[top, d])
            model_at(flux, point, grid)
            scaling = _common_error(common, flux, flux_njy, sigma, shape_err, kind)
        _weights(data, flux_njy, sigma, scale, common, delta)
        points, result = np.empty((1, 4)), np.empty((1, 3))
        n_kept = 0
        for i in range(n_cell):
            if max(value[i] + _promise(slope, bend, i), score[i]) + volume[i] < peak - _NEGLIGIBLE:
                continue
            for d in range(4):
                low[n_kept, d], high[n_kept, d] = low[i, d], high[i, d]
                slope[n_kept, d], bend[n_kept, d] = slope[i, d] * steeper, bend[i, d] * steeper
                points[0, d] = 0.5 * (low[i, d] + high[i, d])
            volume[n_kept] = volume[i]
            evaluate(points, 1, result, data, n_band, grid, mass, work)
            value[n_kept] = result[0, 0]
            score[n_kept] = _score(value[n_kept], slope, bend, n_kept)
            done[n_kept] = 0
            n_kept += 1
        n_cell = n_kept
    # Importance draws inside the cells from the exact model; finer cells and more draws while too few of them count.
    n_draw = n_importance
    rounds = 0
    while True:
        rounds += 1
        where = np.empty(n_draw, dtype=np.int64)
        place, result = np.empty((n_draw, 4)), np.empty((n_draw, 3))
        weight = np.empty(n_draw)
        _propose(where, place, weight, n_draw, n_cell, low, high, volume, score, slope, axes, stream)
        evaluate(place, n_draw, result, data, n_band, grid, mass, work)
        largest = -np.inf
        for r in range(n_draw):
            weight[r] += result[r, 0]
            largest = max(largest, weight[r])
        total, total_square = 0.0, 0.0
        for r in range(n_draw):
            weight[r] = math.exp(weight[r] - largest)
            total += weight[r]
            total_square += weight[r] * weight[r]
        ess = total * total / total_square
        if ess >= wanted_ess or rounds >= 6 or n_cell >= capacity - 1000:
            break
        # Cells that were underrated are looked at whatever their mass.
        tolerance *= 0.7
        for i in range(n_cell):
            done[i] = 0
        for r in range(n_draw):
            if weight[r] * n_draw > 8.0 * total:
                i = where[r]
                rise = math.log(weight[r] * n_draw / total)
                if done[i] == 0:
                    score[i] += rise
                    done[i] = 2
        n_cell = _refine(
            n_cell, low, high, volume, value, score, slope, bend, done, tolerance, 1e-4, 16, data, n_band, grid, mass, work
        )  # fmt: skip
        n_draw = min(2 * n_draw, 8 * n_importance)
    report[0] = largest + math.log(total / n_draw) + _data_constant(data, flux_njy, sigma, n_band)
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
        for d in range(4):
            draws[i, d] = place[r, d]
        draws[i, 4] = draw_log_mass(result[r, 1], result[r, 2], kind, m, nodes, work, stream)
        model_at(flux, place[r], grid)
        if scaling > 0.0:
            # The normal number given these colours, and the mass without it.
            cross = 0.0
            for k in range(n_band):
                cross += flux[k] * data[2, k]
            normal = math.sqrt(-2.0 * math.log(next_uniform(stream))) * math.cos(2.0 * math.pi * next_uniform(stream))
            number = (data[1, n_band] - math.exp(draws[i, 4]) * cross) / data[0, n_band] + normal / math.sqrt(
                data[0, n_band]
            )
            draws[i, 4] -= math.log(max(1.0 + scaling * number, 0.05))
        unit = math.exp(draws[i, 4])
        for c in range(draw_flux.shape[1]):
            draw_flux[i, c] = unit * flux[c]
    best_value, r = -np.inf, 0
    for i in range(n_draw):
        goodness = _goodness(result[i, 1], result[i, 2], place[i], kind, m, axes)
        if goodness > best_value:
            best_value, r = goodness, i
    for d in range(4):
        best[d] = place[r, d]
    _polish(best, best_value, flux, data, n_band, grid, mass)
    chi2 = 0.0
    for k in range(n_band):
        chi2 += data[1, k] * flux_njy[k]
    chi2 -= data[1, n_band] * data[1, n_band] / data[0, n_band]
    model_at(flux, best[:4], grid)
    a, b = products(flux, data, n_band)
    best[4] = _best_log_mass(a, b, kind, m)
    unit = math.exp(best[4])
    best[5] = chi2 - 2.0 * unit * b + unit * unit * a
    for c in range(n_col):
        best[6 + c] = unit * flux[c]


def _propose(
    where: Any, place: Any, weight: Any, n_draw: int, n_cell: int, low: Any, high: Any, volume: Any, score: Any, slope: Any,
    axes: Any, stream: Any,
) -> None:  # fmt: skip
    """Draw points from the cells, with log (prior density over proposal density) in ``weight``.

    A quarter of the draws goes to cells in proportion to the root of their mass, lest one be underrated. In a cell the
    density follows the slope along each axis.
    """
    share = np.empty(n_cell)
    top = -np.inf
    for i in range(n_cell):
        top = max(top, score[i] + volume[i])
    total, total_root = 0.0, 0.0
    for i in range(n_cell):
        share[i] = math.exp(score[i] + volume[i] - top)
        total += share[i]
        total_root += math.sqrt(share[i])
    for i in range(n_cell):
        share[i] = 0.75 * share[i] / total + 0.25 * math.sqrt(share[i]) / total_root
    offset = next_uniform(stream)
    cell = 0
    reached = share[0]
    for r in range(n_draw):
        goal = (r + offset) / n_draw
        while reached < goal and cell < n_cell - 1:
            cell += 1
            reached += share[cell]
        where[r] = cell
        log_prior = -math.log(share[cell])
        for d in range(4):
            width = high[cell, d] - low[cell, d]
            t = next_uniform(stream)
            g = min(max(slope[cell, d], -_STEEPEST), _STEEPEST)
            if abs(g) > 0.05 and width > 0.0:
                growth = math.exp(g) - 1.0
                t = math.log(1.0 + t * growth) / g
                log_prior -= g * t - math.log(growth / g)
            x = low[cell, d] + t * width
            place[r, d] = x
            if width > 0.0:
                log_prior += math.log(width)
                if d < 3:
                    log_prior += axis_density(axes, d, x)
        weight[r] = log_prior


def _polish(best: Any, best_value: float, flux: Any, data: Any, n_band: int, grid: Any, mass: Any) -> None:
    """Improve a point by steps along the axes that shrink when none helps."""
    kind, m, _tail, _nodes = mass
    axes = grid[9]
    step, trial = np.empty(4), np.empty(4)
    for d in range(3):
        step[d] = 0.03 * (axes[d, 1] - axes[d, 0])
    # Ages are uniform in probability, so that the step is a fraction of the younger ones.
    step[3] = 0.03 * min(best[3], 1.0 - best[3])
    for _turn in range(40):
        improved = False
        for d in range(4):
            if step[d] <= 0.0:
                continue
            for side in range(2):
                for e in range(4):
                    trial[e] = best[e]
                lower, upper = (axes[d, 0], axes[d, 1]) if d < 3 else (0.0, 1.0)
                trial[d] = min(max(best[d] + (step[d] if side == 1 else -step[d]), lower), upper)
                model_at(flux, trial, grid)
                a, b = products(flux, data, n_band)
                goodness = _goodness(a, b, trial, kind, m, axes)
                if goodness > best_value:
                    best_value = goodness
                    best[d] = trial[d]
                    improved = True
                    break
        if not improved:
            for d in range(4):
                step[d] *= 0.5


def _goodness(a: float, b: float, point: Any, kind: int, m: Any, axes: Any) -> float:
    """Return the log likelihood at the best mass, times the densities of Gaussian priors."""
    u = _best_log_mass(a, b, kind, m)
    x = math.exp(u)
    value = x * b - 0.5 * x * x * a
    if kind == GAUSSIAN:
        t = (u - m[2]) / m[3]
        value -= 0.5 * t * t
    for d in range(3):
        if axes[d, 4] > 0.0:
            value += axis_density(axes, d, point[d])
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


def _common_error(common: Any, flux: Any, flux_njy: Any, sigma: Any, shape_err: Any, kind: int) -> float:
    """Write the common error of each band [nJy] that changes colours; return the fraction by which it scales all.

    Fractions r of a model g, with one normal number e for all bands: the mean of r over the bands, weighted as the mass
    is, multiplies the mass by 1 + e mean(r). Where the prior of the mass is flat in its logarithm, that changes nothing
    but the mass itself, which is divided by it afterwards. What is left, g (r - mean(r)), is at right angles to g, so
    that it cannot pull the mass down (Peelle's puzzle).
    """
    a, b, mean = 0.0, 0.0, 0.0
    for k in range(flux_njy.size):
        if sigma[k] < np.inf:
            w = flux[k] / (sigma[k] * sigma[k])
            a += w * flux[k]
            b += w * flux_njy[k]
            mean += w * flux[k] * shape_err[k]
    mean = mean / a if (kind == UNIFORM and a > 0.0) else 0.0
    unit = b / a if (b > 0.0 and a > 0.0) else 0.0
    for k in range(flux_njy.size):
        common[k] = (shape_err[k] - mean) * unit * flux[k] if sigma[k] < np.inf else 0.0
        if abs(shape_err[k] - mean) < 1e-12:
            common[k] = 0.0
    return mean


def _data_constant(data: Any, flux_njy: Any, sigma: Any, n_band: int) -> float:
    """Return the part of the log likelihood that the data alone decide, in densities per nJy."""
    value = -0.5 * math.log(data[0, n_band])
    for k in range(n_band):
        if sigma[k] < np.inf:
            value -= _HALF_LOG_2PI + math.log(sigma[k]) + 0.5 * data[1, k] * flux_njy[k]
    return value + 0.5 * data[1, n_band] * data[1, n_band] / data[0, n_band]


#: What `fit_source` and `coarse_fluxes` call.
HELPERS = (
    next_uniform,
    axis_value,
    axis_density,
    _state_at,
    _bracket,
    _in_dust,
    model_at,
    _best_log_mass,
    mass_edges,
    log_mass_panels,
    log_mass_integral,
    _draw_between,
    draw_log_mass,
    products,
    evaluate,
    _coarse_posterior,
    _roughness,
    _score,
    _promise,
    _coarse_slopes,
    _refine,
    _goodness,
    _weights,
    _common_error,
    _data_constant,
    _propose,
    _polish,
)
