"""Joint draws of the measured properties of every clump, from posterior draws or asymmetric errors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from sc_lab import catalog as catalogs
from sc_lab.errors import InputError
from sc_lab.properties.models import LensScaling, lens_scaling
from sc_lab.properties.summary import LEVELS
from sc_lab.units import FloatArray

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["Draws", "joint_draws"]

#: Clumps drawn at once: their temporary arrays stay in the cache of the processor.
_BLOCK = 512
#: Standard deviations from the median to the 84 % quantile (0.994).
_Z84 = float(ndtri(LEVELS[-1]))
_DRAWS = {"mass": "mass_draws", "age": "age_onset_draws", "r_eff": "r_eff_draws", "sfr": "sfr_draws"}
#: Draws of shape (n, k), and which clumps have any.
_Posterior: TypeAlias = tuple[FloatArray, npt.NDArray[np.bool_]]
_COLUMN = {"mass": "mass", "age": "age_onset", "r_eff": "r_eff", "sfr": "sfr"}


@dataclass(frozen=True)
class Draws:
    """Populations drawn from the errors of a catalogue: row j of every array is one possible truth.

    Attributes
    ----------
    mass : ndarray
        Intrinsic mass [Msun], shape (n_draws, n), C order; NaN where not measured.
    age : ndarray
        Age since the onset of star formation [Myr], same shape.
    r_eff : ndarray
        Intrinsic effective radius, or its upper limit [pc], same shape.
    mu : ndarray
        Absolute magnification, same shape.
    sfr : ndarray or None
        Intrinsic star-formation rate [Msun/yr], same shape; None without such a column.
    index : ndarray of int or None
        Which posterior draw of the catalogue each entry took, same shape; None without draws columns.
    without_errors : dict of int
        By quantity, how many measured clumps have no usable errors and so do not scatter.
    """

    mass: npt.NDArray[Any]
    age: npt.NDArray[Any]
    r_eff: npt.NDArray[Any]
    mu: npt.NDArray[Any]
    sfr: npt.NDArray[Any] | None = None
    index: npt.NDArray[np.int32] | None = None
    without_errors: dict[str, int] = field(default_factory=dict)

    @property
    def n_draws(self) -> int:
        """Number of populations drawn."""
        return int(self.mass.shape[0])


@dataclass(frozen=True)
class _Split:
    """A two-piece log-normal for each clump: median and the widths of ln below and above it."""

    median: FloatArray
    below: FloatArray
    above: FloatArray

    def values(self, normal: npt.NDArray[Any], rows: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
        """Return median * exp(width * normal) of some clumps, shape (clumps, draws); ``normal`` is used up."""
        dtype = normal.dtype
        lower = np.minimum(normal, 0.0)
        lower *= self.below[rows].astype(dtype)[:, None]
        np.maximum(normal, 0.0, out=normal)
        normal *= self.above[rows].astype(dtype)[:, None]
        normal += lower
        np.exp(normal, out=normal)
        normal *= self.median[rows].astype(dtype)[:, None]
        return normal


def joint_draws(
    table: Table,
    *,
    n_draws: int = 500,
    lens_model: str = "",
    rng: Any = None,
    dtype: npt.DTypeLike = np.float64,
    previous: Draws | None = None,
    rows: npt.NDArray[np.intp] | None = None,
) -> Draws:
    """Draw populations from the measurement errors of a catalogue, all properties jointly.

    Parameters
    ----------
    table : `~astropy.table.Table`
        A catalogue of n clumps. Its masses, rates and radii are intrinsic for the reference lens
        model, and their errors and draws are those at fixed magnification: the magnification
        has its own errors and is applied here.
    n_draws : int
        Populations to draw.
    lens_model : str
        Name of the lens model whose magnifications apply; empty for the reference model.
    rng : int, `~numpy.random.Generator` or None
        Seed or generator; the same seed gives the same draws.
    dtype : {float64, float32}
        Storage. float32 holds 7 digits, halves the memory and more than halves the time: for
        50 000 clumps x 500 populations each array takes 200 MB in float64 and 100 MB in float32.
    previous : Draws, optional
        Draws of an earlier state of the table with the same options; rows that are the same in both
        are copied from it.
    rows : ndarray of int, optional
        With ``previous``: for each clump the row that it had there, or -1 where it is new or changed.

    Returns
    -------
    Draws
        Arrays of shape (n_draws, n) in house units.

    Raises
    ------
    InputError
        If the catalogue has no such lens model, or ``n_draws`` or ``dtype`` is impossible.

    Notes
    -----
    Claeyssens et al. 2026, section 3.4. Each clump has random numbers of its own, a stream of a
    counter-based generator (Philox; Salmon et al. 2011) keyed by the seed and by its id: its draws do not
    change when other clumps are added, removed or put in another order. For each clump and population:

    - posterior draws (``mass_draws``, ``age_onset_draws``, ``r_eff_draws``, ``sfr_draws``) are
      resampled with one index for all of them, so that their correlations survive;
    - without draws, a value with asymmetric errors becomes a two-piece log-normal whose 16, 50 and
      84 % quantiles are ``value - err_lo``, ``value`` and ``value + err_hi`` exactly. Where
      ``err_lo >= value`` no positive quantity has such a quantile: its 16 % quantile is then put at
      ``value / (1 + err_lo / value)``, the mirror image in ln of an upper error of that size;
    - a missing error does not scatter on its side, nor does a value of zero;
    - the magnification is drawn independently of the rest, likewise two-piece log-normal; the
      tangential one moves with it (same quantile, and without errors of its own the same fraction).
      Mass and rate go as 1/mu, radii as 1/sqrt(mu), upper limits of the radius as 1/mu_t, or as
      1/sqrt(mu) without mu_t;
    - upper limits stay limits: nothing but the magnification scatters them.

    Clumps outside the map of the lens model have NaN but for the age, which needs no lens.
    """
    if isinstance(n_draws, bool) or not isinstance(n_draws, int | np.integer) or n_draws < 1:
        msg = f"n_draws is {n_draws!r}; give a whole number of at least 1"
        raise InputError(msg)
    kind = np.dtype(dtype)
    if kind not in (np.dtype(np.float64), np.dtype(np.float32)):
        msg = f"dtype is {dtype!r}; the draws are stored as float64 or float32"
        raise InputError(msg)
    seed = int(np.random.default_rng(rng).integers(0, 2**64, dtype=np.uint64))
    names = [name for name in _COLUMN if name != "sfr" or {"sfr", "sfr_draws"} & set(table.colnames)]
    scaling = lens_scaling(table, lens_model)
    limit = catalogs.flags(table, "r_eff_is_limit")
    splits = {name: _split(table, _COLUMN[name]) for name in names}
    radius = splits["r_eff"]
    splits["r_eff"] = _Split(radius.median, np.where(limit, 0.0, radius.below), np.where(limit, 0.0, radius.above))
    posterior = _posteriors(table, names, limit)
    suffix = f"_{lens_model}" if lens_model else ""
    mu, mu_t = _split(table, f"mu{suffix}"), _split(table, f"mu_t{suffix}")
    silent = (mu_t.below == 0) & (mu_t.above == 0)
    mu_t = _Split(mu_t.median, np.where(silent, mu.below, mu_t.below), np.where(silent, mu.above, mu_t.above))

    n = len(table)
    out, index, todo = _begin(n, n_draws, kind, names, previous, rows, indexed=bool(posterior))
    ids = catalogs.texts(table, "id")
    depth = next(iter(posterior.values()))[0].shape[1] if posterior else 0
    for block in _blocks(todo, names, posterior):
        needed = ["mu", *(name for name in names if name not in posterior or not posterior[name][1][block[0]])]
        normal = np.empty((len(block), len(needed), n_draws), dtype=kind)
        picked = np.empty((len(block), n_draws if posterior else 0), dtype=np.int32)
        _fill(normal, picked, depth, seed, [ids[row] for row in block])
        normal *= 1.0 / _Z84  # its 16 and 84 % quantiles are -1 and 1 now
        drawn = {
            name: splits[name].values(normal[:, needed.index(name)], block)
            if name in needed
            else np.take_along_axis(posterior[name][0][block], picked, axis=1).astype(kind)
            for name in names
        }
        drawn["mu"], flux, size = _lens(normal[:, 0], mu, mu_t, scaling, block)
        drawn["mass"] *= flux
        drawn["r_eff"] *= size
        if "sfr" in drawn:
            drawn["sfr"] *= flux
        for name, values in drawn.items():
            out[name][:, block] = values.T
        if index is not None:
            index[:, block] = picked.T
    return Draws(
        mass=out["mass"],
        age=out["age"],
        r_eff=out["r_eff"],
        mu=out["mu"],
        sfr=out.get("sfr"),
        index=index,
        without_errors=_without_errors(splits, posterior, mu, limit),
    )


def _begin(
    n: int,
    n_draws: int,
    kind: np.dtype[Any],
    names: list[str],
    previous: Draws | None,
    rows: npt.NDArray[np.intp] | None,
    *,
    indexed: bool,
) -> tuple[dict[str, npt.NDArray[Any]], npt.NDArray[np.int32] | None, npt.NDArray[np.intp]]:
    """Return arrays to be filled, with what an earlier state has in common, and the rows that remain to be drawn."""
    everything = np.arange(n)
    wanted = [*names, "mu"]
    usable = (
        previous is not None
        and rows is not None
        and previous.mass.dtype == kind
        and previous.n_draws == n_draws
        and previous.mass.shape[1] > 0
        and (previous.index is not None) == indexed
        and all(getattr(previous, name) is not None for name in wanted)
    )
    if not usable or previous is None or rows is None:
        out = {name: np.empty((n_draws, n), dtype=kind) for name in wanted}
        return out, np.empty((n_draws, n), dtype=np.int32) if indexed else None, everything
    source = np.maximum(rows, 0)
    out = {name: np.take(getattr(previous, name), source, axis=1) for name in wanted}
    index = None if previous.index is None else np.take(previous.index, source, axis=1)
    return out, index, everything[rows < 0]


def _blocks(
    todo: npt.NDArray[np.intp], names: list[str], posterior: dict[str, _Posterior]
) -> Iterator[npt.NDArray[np.intp]]:
    """Return rows in blocks; within one the same quantities come from posterior draws."""
    pattern = np.zeros(len(todo), dtype=int)
    for place, name in enumerate(names):
        if name in posterior:
            pattern += posterior[name][1][todo].astype(int) << place
    for value in np.unique(pattern):
        alike = todo[pattern == value]
        for start in range(0, len(alike), _BLOCK):
            yield alike[start : start + _BLOCK]


def _fill(normal: npt.NDArray[Any], picked: npt.NDArray[np.int32], depth: int, seed: int, ids: list[str]) -> None:
    """Fill standard normals, and indices below ``depth``, each clump from the stream of its own id."""
    bits = np.random.Philox(key=[seed, 0])
    generator = np.random.Generator(bits)
    state: Any = bits.state
    for row, name in enumerate(ids):
        digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        state["state"]["key"][1] = int.from_bytes(digest, "little")
        bits.state = state  # the counter at its beginning, the buffer empty
        generator.standard_normal(out=normal[row], dtype=normal.dtype)
        if picked.size:
            picked[row] = generator.integers(0, depth, size=picked.shape[1], dtype=np.int32)


def _lens(
    normal: npt.NDArray[Any], mu: _Split, mu_t: _Split, scaling: LensScaling, rows: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Draw the magnification of a block; return it with the factors on masses and on radii."""
    kind = normal.dtype
    along = np.flatnonzero(scaling.tangential[rows])
    quantile = normal[along]
    drawn = mu.values(normal, rows)
    with np.errstate(invalid="ignore"):
        # mu_median / mu_draw; a clump without magnification keeps its catalogue value in the reference model.
        ratio = mu.median[rows].astype(kind)[:, None] / drawn
    ratio[np.isnan(mu.median[rows])] = 1.0
    size = np.sqrt(ratio)
    if along.size:
        size[along] = mu_t.median[rows[along]].astype(kind)[:, None] / mu_t.values(quantile, rows[along])
    ratio *= scaling.flux[rows].astype(kind)[:, None]
    size *= scaling.size[rows].astype(kind)[:, None]
    return drawn, ratio, size


def _split(table: Table, name: str) -> _Split:
    """Return the two-piece log-normals of a column with its asymmetric errors."""
    value = catalogs.values(table, name)
    low, high = catalogs.values(table, f"{name}_err_lo"), catalogs.values(table, f"{name}_err_hi")
    positive = value > 0
    safe = np.where(positive, value, 1.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        fraction = low / safe
        below = np.where(fraction < 1.0, -np.log1p(-fraction), np.log1p(fraction))
        above = np.log1p(high / safe)
    return _Split(
        median=value,
        below=np.where(positive & np.isfinite(low), below, 0.0),
        above=np.where(positive & np.isfinite(high), above, 0.0),
    )


def _posteriors(table: Table, names: list[str], limit: npt.NDArray[np.bool_]) -> dict[str, _Posterior]:
    """Return the draws columns that the catalogue has, and which clumps have draws in them."""
    out: dict[str, _Posterior] = {}
    for name in names:
        if _DRAWS[name] not in table.colnames:
            continue
        draws = catalogs.values(table, _DRAWS[name])
        if draws.ndim != 2 or draws.shape[1] == 0:
            msg = f"{_DRAWS[name]} has the shape {draws.shape}; each row must hold an array of at least one draw"
            raise InputError(msg)
        has = np.isfinite(draws).any(axis=1)
        out[name] = draws, np.asarray(has & ~limit if name == "r_eff" else has)
    depths = {_DRAWS[name]: pair[0].shape[1] for name, pair in out.items()}
    if len(set(depths.values())) > 1:
        words = ", ".join(f"{name} has {depth}" for name, depth in depths.items())
        msg = f"the draws columns differ in length ({words}); draw j must belong together across all of them"
        raise InputError(msg)
    return out


def _without_errors(
    splits: dict[str, _Split], posterior: dict[str, _Posterior], mu: _Split, limit: npt.NDArray[np.bool_]
) -> dict[str, int]:
    """Count the measured clumps that do not scatter for want of errors; limits are not expected to have any."""
    out = {}
    for name, split in {**splits, "mu": mu}.items():
        silent = np.isfinite(split.median) & (split.below == 0) & (split.above == 0)
        if name == "r_eff":
            silent &= ~limit
        pair = posterior.get(name)
        if pair is not None:
            silent &= ~pair[1]
        out[name] = int(np.count_nonzero(silent))
    return out
