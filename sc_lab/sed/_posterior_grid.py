"""What the grid engine prepares once for a redshift, a model and priors: rows of fluxes, age states, coarse cells."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sc_lab.errors import InputError
from sc_lab.sed._threads import one_blas_thread
from sc_lab.sed.priors import Fixed, Gaussian, LogUniform, Prior, Priors
from sc_lab.units import FloatArray

if TYPE_CHECKING:
    from sc_lab.sed.sfh import SfhStates
    from sc_lab.sed.tables import BandTables

__all__ = ["Grid", "Rows", "covered_ranges", "make_grid", "make_rows", "mass_prior", "uniform_matrix"]

#: Nodes per magnitude of the uniform grid of A_V; four-point interpolation on it is exact to 2e-6.
_NODES_PER_MAG = 32
#: Width of the coarse cells: in log10 age, and numbers along the other axes.
_AGE_STEP_DEX = 0.05
_N_LOG_U = 4
_Z_STEP = 0.4
_AV_STEP = 0.1
#: A Gaussian prior is followed this many sigma out; beyond lies 6e-7 of it.
_SIGMAS = 5.0
#: Share of the mass in birth clouds below which a row of the table has no gas: the gas outshines a year-old star's
#: light by less than 1e4 per mass, so that nothing above 1e-12 is lost.
_NO_GAS = 1e-16


@dataclass(frozen=True, eq=False)
class Grid:
    """Everything that the compiled loops need and that no source changes; layouts as in ``_kernels``."""

    table: npt.NDArray[np.float32]
    start: npt.NDArray[np.int64]
    n_log_u: npt.NDArray[np.int64]
    row_a: npt.NDArray[np.int64]
    row_b: npt.NDArray[np.int64]
    mix: FloatArray
    z_nodes: FloatArray
    u_nodes: FloatArray
    av_grid: FloatArray
    axes: FloatArray
    cumulative: FloatArray
    young: npt.NDArray[np.int8]
    age_low: FloatArray
    age_high: FloatArray
    age_mw: FloatArray
    sfr10: FloatArray
    sfr100: FloatArray
    live: FloatArray
    live_nodes: FloatArray
    coarse: npt.NDArray[np.float32]
    coarse_low: FloatArray
    coarse_high: FloatArray
    coarse_volume: FloatArray
    layout: npt.NDArray[np.int64]
    n_band: int
    has_gas: bool
    magnitude_offset: float
    priors: Priors

    @property
    def nbytes(self) -> int:
        """Memory of its own [bytes], without the rows that it shares with grids of other priors."""
        return int(self.coarse.nbytes + self.coarse_low.nbytes + self.coarse_high.nbytes + self.live.nbytes)

    @property
    def arrays(self) -> tuple[Any, ...]:
        """The tuple ``grid`` of the compiled functions."""
        return (
            self.table, self.start, self.n_log_u, self.row_a, self.row_b, self.mix, self.z_nodes, self.u_nodes,
            self.av_grid, self.axes, self.cumulative, self.young,
        )  # fmt: skip


def uniform_matrix(nodes: FloatArray, low: float, high: float) -> tuple[FloatArray, FloatArray]:
    """Return a uniform grid over a range and the matrix that takes values at Chebyshev-like nodes to it.

    Parameters
    ----------
    nodes : ndarray, shape (n_node,)
        Nodes of a polynomial through all of them.
    low, high : float
        The range, within the nodes.

    Returns
    -------
    grid : ndarray, shape (3,)
        First value, step, and number of the uniform grid.
    matrix : ndarray, shape (n_grid, n_node)
        Barycentric Lagrange interpolation (Berrut & Trefethen 2004, eq. 4.2).
    """
    if high - low < 1e-9:
        low, high = (low, low + 1e-3) if low + 1e-3 <= nodes.max() else (high - 1e-3, high)
    n = max(4, 1 + math.ceil((high - low) * _NODES_PER_MAG))
    points = np.linspace(low, high, n)
    scale = 4.0 / (nodes.max() - nodes.min())
    apart = (nodes[:, None] - nodes[None, :]) * scale
    np.fill_diagonal(apart, 1.0)
    weights = 1.0 / apart.prod(axis=1)
    distance = points[:, None] - nodes[None, :]
    exact = np.abs(distance) < 1e-12
    terms = weights / np.where(exact, 1.0, distance)
    matrix = terms / terms.sum(axis=1, keepdims=True)
    hit = exact.any(axis=1)
    matrix[hit] = exact[hit]
    return np.array([low, (high - low) / (n - 1), n]), matrix


def _axis(prior: Prior, name: str) -> list[float]:
    """Return low, high, whether logarithmic, mean, sigma and log norm of a coordinate."""
    if isinstance(prior, LogUniform):
        return [math.log(prior.low), math.log(prior.high), 1.0, 0.0, 0.0, 0.0]
    if isinstance(prior, Gaussian):
        low = max(prior.low, prior.mean - _SIGMAS * prior.sigma)
        high = min(prior.high, prior.mean + _SIGMAS * prior.sigma)
        if name != "log_u":
            low = max(low, 0.0)
        if not high > low:  # all of it lies far out on one side of the mean
            low, high = (prior.low, prior.high) if math.isfinite(prior.high - prior.low) else (low, low + prior.sigma)
        log_norm = math.log(prior.sigma * math.sqrt(2.0 * math.pi)) + prior.log_norm
        return [low, high, 0.0, prior.mean, prior.sigma, log_norm]
    return [prior.low, prior.high, 0.0, 0.0, 0.0, 0.0]


def mass_prior(prior: Prior) -> tuple[int, FloatArray]:
    """Return the kind and the numbers of a prior of log10 mass as the loops take them.

    Parameters
    ----------
    prior : Uniform, LogUniform, Gaussian or Fixed
        Of log10 mass formed.

    Returns
    -------
    kind : int
        See ``_kernels``.
    numbers : ndarray, shape (7,)
        ln of the limits of the mass, mean and sigma in ln mass, logarithm of the norm of the density in ln mass,
        and the limits themselves.
    """
    from sc_lab.sed import _kernels

    ten = math.log(10.0)
    if isinstance(prior, Fixed):
        return _kernels.FIXED, _with_limits(prior.value * ten, prior.value * ten, 0.0, 0.0, 0.0)
    if isinstance(prior, Gaussian):
        low = max(prior.low, prior.mean - 40.0 * prior.sigma, -30.0) * ten
        high = min(prior.high, prior.mean + 40.0 * prior.sigma, 40.0) * ten
        norm = math.log(prior.sigma * ten * math.sqrt(2.0 * math.pi)) + prior.log_norm
        return _kernels.GAUSSIAN, _with_limits(low, high, prior.mean * ten, prior.sigma * ten, norm)
    low, high = prior.low * ten, prior.high * ten
    if isinstance(prior, LogUniform):
        return _kernels.LOG_UNIFORM, _with_limits(low, high, 0.0, 0.0, math.log(math.log(high / low)))
    return _kernels.UNIFORM, _with_limits(low, high, 0.0, 0.0, math.log(high - low))


def _with_limits(low: float, high: float, mean: float, sigma: float, log_norm: float) -> FloatArray:
    """Return the numbers of a prior of ln mass, and its limits in mass."""
    return np.array([low, high, mean, sigma, log_norm, math.exp(low), math.exp(high)])


def _nodes_in_use(nodes: FloatArray, low: float, high: float) -> slice:
    """Return the nodes that bracket a range."""
    first = max(int(np.searchsorted(nodes, low, side="right")) - 1, 0)
    last = min(int(np.searchsorted(nodes, high, side="left")), nodes.size - 1)
    first = min(first, last)
    return slice(first, last + 1)


@dataclass(frozen=True, eq=False)
class Rows:
    """What a grid has from model, bands and redshift alone: the priors only choose from it.

    Attributes
    ----------
    table, start, n_log_u, z_nodes, u_nodes, av_grid : ndarray
        As in ``_kernels``.
    states : SfhStates
        The age states of the history.
    row_a, row_b : ndarray of int, shape (n_state,)
        The two rows of every state.
    derived : dict
        What follows from the age, at the middle of every state.
    metallicity : ndarray
        All nodes of the library.
    n_band : int
        Number of bands.
    has_gas : bool
        Whether there is gas.
    magnitude_offset : float
        From the magnitude in the V column to the absolute one.
    """

    table: npt.NDArray[np.float32]
    start: npt.NDArray[np.int64]
    n_log_u: npt.NDArray[np.int64]
    z_nodes: FloatArray
    u_nodes: FloatArray
    av_grid: FloatArray
    states: SfhStates
    row_a: npt.NDArray[np.int64]
    row_b: npt.NDArray[np.int64]
    derived: dict[str, FloatArray]
    metallicity: FloatArray
    n_band: int
    has_gas: bool
    magnitude_offset: float

    @property
    def nbytes(self) -> int:
        """Memory of the arrays [bytes], without those of the states, which many redshifts share."""
        return int(self.table.nbytes + self.row_a.nbytes + self.row_b.nbytes + self.derived["live"].nbytes)


Ranges = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]


def covered_ranges(priors: Priors, metallicity: FloatArray, log_u: FloatArray) -> Ranges:
    """Return the ranges of metallicity, A_V and log U for which rows are made, so that they serve many priors.

    Parameters
    ----------
    priors : Priors
        The priors.
    metallicity, log_u : ndarray
        Nodes of the library; no log U without gas.

    Returns
    -------
    tuple of pairs of float
        From node to node, and A_V in whole magnitudes: around the priors and, but for A_V, around those of `Priors`.
    """
    dust = _ends(priors.a_v, "a_v")
    low = float(math.floor(dust[0] + 1e-9))
    high = max(low + 1.0, float(math.ceil(dust[1] - 1e-9)))
    return _between_nodes(metallicity, "metallicity", priors), (low, high), _between_nodes(log_u, "log_u", priors)


def _ends(prior: Prior, name: str) -> tuple[float, float]:
    """Return the range of a prior, for a Gaussian as far as it is followed."""
    if isinstance(prior, Gaussian):
        low, high = _axis(prior, name)[:2]
        return low, high
    return prior.low, prior.high


def _between_nodes(nodes: FloatArray, name: str, priors: Priors) -> tuple[float, float]:
    """Return the first and last node that a prior, or the one that priors have by themselves, needs."""
    if not len(nodes):
        return 0.0, 0.0
    ends = [_ends(getattr(each, name), name) for each in (priors, Priors())]
    use = _nodes_in_use(nodes, min(low for low, _ in ends), max(high for _, high in ends))
    return float(nodes[use][0]), float(nodes[use][-1])


def make_rows(tables: BandTables, states: SfhStates, ranges: Ranges) -> Rows:
    """Return the fluxes of the histories of a redshift.

    Parameters
    ----------
    tables : BandTables
        Fluxes by age bin, metallicity, log U and A_V; the last column is the redshifted V band.
    states : SfhStates
        The age states of the history at this redshift.
    ranges : tuple of pairs of float
        Of metallicity, A_V and log U, from `covered_ranges`.

    Returns
    -------
    Rows
        The rows.
    """
    has_gas = tables.nebular.size > 0
    use_z = _nodes_in_use(np.asarray(tables.metallicity), *ranges[0])
    use_u = _nodes_in_use(np.asarray(tables.log_u), *ranges[2]) if has_gas else slice(0, 1)
    av_grid, to_uniform = uniform_matrix(np.asarray(tables.a_v), *ranges[1])
    weights, row_a, row_b = _two_rows(states)
    with one_blas_thread():
        table, start, n_log_u = _row_table(weights, tables, use_z, use_u, to_uniform)
    metallicity = np.asarray(tables.metallicity, dtype=np.float64)
    return Rows(
        table=table, start=start, n_log_u=n_log_u, z_nodes=np.ascontiguousarray(metallicity[use_z]),
        u_nodes=np.array(tables.log_u, dtype=np.float64)[use_u] if has_gas else np.zeros(1), av_grid=av_grid,
        states=states, row_a=row_a, row_b=row_b, derived=states.derived_at_middles, metallicity=metallicity,
        n_band=tables.stellar.shape[-1] - 1, has_gas=has_gas, magnitude_offset=float(tables.magnitude_offset),
    )  # fmt: skip


def make_grid(rows: Rows, priors: Priors, compiled: dict[str, Any]) -> Grid:
    """Return what the loops need for priors at one redshift.

    Parameters
    ----------
    rows : Rows
        Of the redshift; they cover the priors.
    priors : Priors
        As they hold at this redshift.
    compiled : dict
        The compiled functions.

    Returns
    -------
    Grid
        The rows, states with their prior mass, and coarse cells with their fluxes.

    Raises
    ------
    InputError
        If the age prior lies where the history has no state.
    """
    axes = np.array([_axis(priors.metallicity, "metallicity"), _axis(priors.a_v, "a_v"), _axis(priors.log_u, "log_u")])
    keep, low, high, mass = _states_in_prior(rows.states, priors.age)
    row_a, row_b, mix = rows.row_a[keep], rows.row_b[keep], _mixes(rows.states, keep, low * 1e6, high * 1e6)
    derived = {name: values[keep] for name, values in rows.derived.items()}
    cut = np.flatnonzero((low * 1e6 != rows.states.age_low[keep]) | (high * 1e6 != rows.states.age_high[keep]))
    if cut.size:  # states at the ends of the prior have another middle
        for name, values in rows.states.derived(0.5e6 * (low + high)[cut]).items():
            derived[name][cut] = values
    n_log_u = rows.n_log_u
    young = ((n_log_u[row_a] > 1) & (mix < 1.0).any(axis=1)) | ((n_log_u[row_b] > 1) & (mix > 0.0).any(axis=1))
    cumulative = np.concatenate([[0.0], np.cumsum(mass)])
    cumulative /= cumulative[-1]
    cells = _coarse_cells(low, high, cumulative, young, axes, rows.metallicity)
    grid = Grid(
        table=rows.table, start=rows.start, n_log_u=n_log_u, row_a=row_a, row_b=row_b, mix=mix, z_nodes=rows.z_nodes,
        u_nodes=rows.u_nodes, av_grid=rows.av_grid, axes=axes, cumulative=cumulative, young=young.astype(np.int8),
        age_low=low, age_high=high, age_mw=derived["age_mw"] / 1e6, sfr10=derived["sfr10"], sfr100=derived["sfr100"],
        live=derived["live"], live_nodes=rows.metallicity,
        coarse=np.empty((_padded(rows.n_band + 1), cells[2].size), dtype=np.float32),
        coarse_low=cells[0], coarse_high=cells[1], coarse_volume=cells[2], layout=cells[3],
        n_band=rows.n_band, has_gas=rows.has_gas, magnitude_offset=rows.magnitude_offset, priors=priors,
    )  # fmt: skip
    compiled["coarse_fluxes"](grid.coarse, grid.coarse_low, grid.coarse_high, grid.layout, grid.arrays)
    return grid


def _padded(n: int) -> int:
    """Return the number of columns, a multiple of four so that loops over them fill vector registers."""
    return 4 * math.ceil(n / 4)


def _states_in_prior(
    states: SfhStates, prior: Prior
) -> tuple[npt.NDArray[np.intp], FloatArray, FloatArray, FloatArray]:
    """Return the age states within the prior: their indices, lower and upper limits [Myr] and prior mass."""
    low, high = states.age_low / 1e6, states.age_high / 1e6
    if isinstance(prior, Fixed):
        if not low[0] <= prior.value <= high[-1] * (1 + 1e-12):
            msg = f"age is fixed at {prior.value:g} Myr; the model has light from {low[0]:g} to {high[-1]:g} Myr"
            raise InputError(msg)
        value = np.array([prior.value])
        return states.locate(value * 1e6), value, value, np.ones(1)
    mass = np.asarray(prior.cdf(high)) - np.asarray(prior.cdf(low))
    keep = np.flatnonzero(mass > 0.0)
    if not keep.size:
        msg = (
            f"the prior of age holds {prior.low:g} to {prior.high:g} Myr; the model has light from {low[0]:g} to "
            f"{high[-1]:g} Myr: move the prior there"
        )
        raise InputError(msg)
    return keep, np.maximum(low[keep], prior.low), np.minimum(high[keep], prior.high), mass[keep]


def _two_rows(states: SfhStates) -> tuple[FloatArray, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return distinct rows of weights, and the two rows of every state."""
    base, full = states.base_index, states.full_index
    if states.full is states.base:
        rows, of = np.unique(np.concatenate([base, full]), return_inverse=True)
        both = of.astype(np.int64).ravel()
        return states.base[rows], both[: base.size], both[base.size :]
    base_rows, base_of = np.unique(base, return_inverse=True)
    full_rows, full_of = np.unique(full, return_inverse=True)
    weights = np.concatenate([states.base[base_rows], states.full[full_rows]])
    return weights, base_of.astype(np.int64).ravel(), full_of.astype(np.int64).ravel() + base_rows.size


def _mixes(states: SfhStates, keep: npt.NDArray[np.intp], low: FloatArray, high: FloatArray) -> FloatArray:
    """Return the mix of the two rows at both ends [yr] of states."""
    if not states.exact:
        return np.tile(states.mix[keep, None], 2)
    nudge = 1e-9 * (high - low)  # a state lies inside one line, and so do its ends
    return np.stack([states.rows(low + nudge)[2], states.rows(high - nudge)[2]], axis=1)


def _row_table(
    weights: FloatArray, tables: BandTables, use_z: slice, use_u: slice, to_uniform: FloatArray
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the flat table of rows, with where each begins and how many log U it has."""
    # The rows are kept in single precision, so they are made in it: half the time, and nothing here cancels.
    to_uniform = to_uniform.astype(np.float32)
    stellar = _in_single(tables.stellar[: weights.shape[1], use_z])
    n_row, (n_z, n_av, n_col), n_x = len(weights), stellar.shape[1:], len(to_uniform)
    n_young = min(len(tables.nebular), weights.shape[1]) if tables.nebular.size else 0
    gas = weights[:, :n_young].sum(axis=1) > _NO_GAS
    nebular = _in_single(tables.nebular[:n_young, use_z, use_u]) if gas.any() else np.empty((0, n_z, 1, n_av, n_col))
    n_u = nebular.shape[2]
    # Rows with gas come first, each with all its log U; then those without.
    counts = np.where(gas, n_u, 1)
    order = np.argsort(~gas, kind="stable")
    sizes = n_z * counts * n_x * n_col
    start = np.empty(n_row, dtype=np.int64)
    start[order] = np.concatenate([[0], np.cumsum(sizes[order])[:-1]])
    table = np.empty(int(sizes.sum()), dtype=np.float32)
    n_lit = int(gas.sum())
    split = n_lit * n_z * n_u * n_x * n_col
    shares = weights[order].astype(np.float32)
    stars = (shares[:, : len(stellar)] @ stellar.reshape(len(stellar), -1)).reshape(n_row, n_z, n_av, n_col)
    if n_lit:
        glow = (shares[:n_lit, :n_young] @ nebular.reshape(n_young, -1)).reshape(n_lit, n_z, n_u, n_av, n_col)
        glow += stars[:n_lit, :, None]
        np.matmul(to_uniform, glow, out=table[:split].reshape(n_lit, n_z, n_u, n_x, n_col))
    np.matmul(to_uniform, stars[n_lit:], out=table[split:].reshape(n_row - n_lit, n_z, n_x, n_col))
    return table, start, counts.astype(np.int64)


def _in_single(table: FloatArray) -> npt.NDArray[np.float32]:
    """Return a copy in single precision whose last axis is filled up with zeros."""
    out = np.zeros((*table.shape[:-1], _padded(table.shape[-1])), dtype=np.float32)
    out[..., : table.shape[-1]] = table
    return out


def _even_edges(axis: FloatArray, n: int) -> FloatArray:
    """Return the edges of ``n`` equal intervals of an axis, or its one value twice."""
    return np.linspace(axis[0], axis[1], n + 1) if axis[1] > axis[0] else axis[:2].copy()


def _edges_at_nodes(axis: FloatArray, nodes: FloatArray, step: float) -> FloatArray:
    """Return edges of intervals between which fluxes are linear: at the nodes, and between them where they are far apart.

    ``step`` is in the logarithm; beyond the nodes nothing changes and one interval is enough.
    """
    low, high = (math.exp(x) for x in axis[:2]) if axis[2] else axis[:2]
    if not high > low:
        return axis[:2].copy()
    inner = nodes[(nodes > low * 1.01) & (nodes < high * 0.99)]
    corners = np.concatenate([[low], inner, [high]])
    edges = [low]
    for a, b in itertools.pairwise(corners):
        flat = b <= nodes[0] or a >= nodes[-1]
        n = 1 if flat else int(np.clip(math.ceil(math.log(b / max(a, 1e-3)) / step), 1, 3))
        edges += list(np.geomspace(max(a, 1e-3), b, n + 1)[1:])
    out = np.array(edges)
    return np.log(out) if axis[2] else out


def _coarse_cells(
    low: FloatArray,
    high: FloatArray,
    cumulative: FloatArray,
    young: npt.NDArray[np.bool_],
    axes: FloatArray,
    z_nodes: FloatArray,
) -> tuple[FloatArray, FloatArray, FloatArray, npt.NDArray[np.int64]]:
    """Return corners and log prior mass of the cells that tile the prior, and the layout of their two blocks."""
    middle = np.log10(np.maximum(0.5 * (low + high), 1e-6))
    label = np.floor(middle / _AGE_STEP_DEX).astype(np.int64)
    change = np.flatnonzero((np.diff(label) != 0) | (young[1:] != young[:-1])) + 1
    bounds = np.concatenate([[0], change, [low.size]])
    n_av = int(np.clip(math.ceil((axes[1, 1] - axes[1, 0]) / _AV_STEP + 2), 4, 40))
    edges = [_edges_at_nodes(axes[0], z_nodes, _Z_STEP), _even_edges(axes[1], n_av), _even_edges(axes[2], _N_LOG_U)]
    lowers: list[FloatArray] = []
    uppers: list[FloatArray] = []
    layout = np.ones((2, 9), dtype=np.int64)
    n_before = 0
    for block, with_gas in enumerate((True, False)):
        ages = np.array([(a, b) for a, b in itertools.pairwise(bounds) if young[a] == with_gas], dtype=np.int64)
        layout[block, 0] = n_before
        if not ages.size:
            continue
        axis_edges = [edges[0], edges[1], edges[2] if with_gas else axes[2, :2]]
        # The age varies slowest: (age, metallicity, A_V, log U).
        counts = [len(ages), *(len(e) - 1 for e in axis_edges)]
        for side, out in ((0, lowers), (1, uppers)):
            corners = [cumulative[ages[:, side]], *(e[_SIDES[side]] for e in axis_edges)]
            mesh = np.meshgrid(*corners, indexing="ij")
            out.append(np.stack([mesh[k].ravel() for k in (1, 2, 3, 0)], axis=1))
        n_before += len(lowers[-1])
        strides = np.append(np.cumprod(counts[::-1])[::-1][1:], 1)
        layout[block, 1:5], layout[block, 5:9] = strides[[1, 2, 3, 0]], np.array(counts)[[1, 2, 3, 0]]
    lower, upper = np.concatenate(lowers), np.concatenate(uppers)
    volume = np.log(upper[:, 3] - lower[:, 3])
    for d in range(3):
        volume += _log_probability(axes[d], lower[:, d], upper[:, d])
    if layout[1, 0] == 0:  # no cell has gas: all of them are in the second block
        layout[0] = layout[1]
    return lower, upper, volume, layout


_SIDES = (slice(None, -1), slice(1, None))


def _log_probability(axis: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """Return the log prior probability of intervals of a coordinate, from the density at their middles."""
    width = axis[1] - axis[0]
    if width <= 0:
        return np.zeros(low.shape)
    if axis[4] > 0:
        t = (0.5 * (low + high) - axis[3]) / axis[4]
        return np.asarray(-0.5 * t * t - axis[5] + np.log(high - low))
    return np.asarray(np.log((high - low) / width))
