"""Band fluxes of all stellar populations of a model at one redshift, tabulated by age, metallicity, log U and A_V."""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.cosmology import FLRW

from sc_lab.errors import InputError
from sc_lab.sed._ages import AgeBins, age_bins
from sc_lab.sed._frame import Frame, frame_at
from sc_lab.sed._nodes import a_v_nodes, barycentric_weights, linear_weights
from sc_lab.sed._store import cache_folder, code_version, load_arrays, prune, save_arrays
from sc_lab.sed._table_build import basis_of, build, v_filter
from sc_lab.sed._threads import one_blas_thread
from sc_lab.sed.dust import attenuation_curve
from sc_lab.sed.filters import Filter, get_filters
from sc_lab.sed.model import SedModel
from sc_lab.units import FloatArray

__all__ = [
    "V_BAND",
    "BandTables",
    "a_v_nodes",
    "barycentric_weights",
    "basis_of",
    "clear_tables",
    "linear_weights",
    "make_tables",
    "set_memory_limit",
    "v_filter",
]

#: Name of the column of the V band in the rest frame.
V_BAND = "V_rest"
#: Light bluer than this [Angstrom] decides no flux; the attenuation here decides how many nodes of A_V it takes.
_BLUEST = 850.0


@dataclass(frozen=True, eq=False)
class BandTables:
    """Fluxes of simple stellar populations and of the gas around them.

    Everything on the light's way is inside: birth clouds, dust and what it radiates, intergalactic medium, distance
    and filters. The flux of a source is a sum over this table.

    Attributes
    ----------
    stellar : ndarray, shape (n_bin, n_metal, n_av, n_band + 1)
        Flux density [nJy] of stars for 1 Msun formed in a bin of age.
    nebular : ndarray, shape (n_young, n_metal, n_u, n_av, n_band + 1)
        The same of gas; it belongs to the first ``n_young`` bins. n_u is 0 without nebular emission.
    metallicity : ndarray, shape (n_metal,)
        Nodes in units of 0.02. Linear between them, constant outside.
    log_u : ndarray, shape (n_u,)
        Nodes of log U. Fluxes are linear between them.
    a_v : ndarray, shape (n_av,)
        Nodes of A_V [mag], Chebyshev points; use `a_v_weights` between them.
    bands : tuple of str
        Names of the bands; the last column of the tables is the V band redshifted to the source.
    pivot : ndarray, shape (n_band + 1,)
        Pivot wavelengths in the observed frame [Angstrom].
    z : float
        Redshift.
    luminosity_distance : float
        Luminosity distance [cm].
    age_of_universe : float
        Age of the Universe at z [yr].
    bins : AgeBins
        Bins of age; the tables have the first n_bin.
    model : SedModel
        The model.
    digest : str
        SHA-256 of everything that decides the numbers.
    """

    stellar: FloatArray
    nebular: FloatArray
    metallicity: FloatArray
    log_u: FloatArray
    a_v: FloatArray
    bands: tuple[str, ...]
    pivot: FloatArray
    z: float
    luminosity_distance: float
    age_of_universe: float
    bins: AgeBins
    model: SedModel
    digest: str

    @property
    def n_bin(self) -> int:
        """Number of bins of age."""
        return int(self.stellar.shape[0])

    @property
    def n_young(self) -> int:
        """Number of bins that have gas."""
        return int(self.nebular.shape[0])

    @property
    def bands_and_v(self) -> tuple[str, ...]:
        """Names of all columns."""
        return (*self.bands, V_BAND)

    @property
    def nbytes(self) -> int:
        """Memory of the tables [bytes]."""
        return int(self.stellar.nbytes + self.nebular.nbytes)

    @property
    def magnitude_offset(self) -> float:
        """M_V minus the AB magnitude of the V column: -5 log10(d_L / 10 pc) + 2.5 log10(1 + z)."""
        ten_pc = 1e-5 * (3.086e24 if self.model.mode == "compat" else 3.0856775814913674e24)
        return -5.0 * math.log10(self.luminosity_distance / ten_pc) + 2.5 * math.log10(1.0 + self.z)

    def a_v_weights(self, a_v: FloatArray) -> FloatArray:
        """Return the weights of the nodes of A_V.

        Parameters
        ----------
        a_v : ndarray, shape (n,)
            A_V [mag], inside the range of the nodes.

        Returns
        -------
        ndarray, shape (n, n_av)
            Weights of barycentric interpolation, Berrut & Trefethen (2004), equation 5.4.
        """
        return barycentric_weights(self.a_v, a_v)

    def metallicity_weights(self, metallicity: FloatArray) -> FloatArray:
        """Return the weights of the nodes of metallicity.

        Parameters
        ----------
        metallicity : ndarray, shape (n,)
            Metallicity in units of 0.02.

        Returns
        -------
        ndarray, shape (n, n_metal)
            Linear in Z; below the first and above the last node that node alone.
        """
        return linear_weights(self.metallicity, metallicity)

    def log_u_weights(self, log_u: FloatArray) -> FloatArray:
        """Return the weights of the nodes of log U.

        Parameters
        ----------
        log_u : ndarray, shape (n,)
            log10 of the ionisation parameter.

        Returns
        -------
        ndarray, shape (n, n_u)
            Linear in log U.
        """
        return linear_weights(self.log_u, log_u)


# ---- making them -------------------------------------------------------------------------
_LOCK = threading.RLock()
_KEPT: OrderedDict[str, BandTables] = OrderedDict()
_BUILDING: dict[str, threading.Lock] = {}
_limit = 120_000_000


def set_memory_limit(n_bytes: int) -> None:
    """Set how much memory tables may take together.

    Parameters
    ----------
    n_bytes : int
        Bytes; those not used for the longest time are dropped beyond it. 120 MB at first.
    """
    global _limit  # noqa: PLW0603 - one cache for the process, and this is its one setting
    with _LOCK:
        _limit = int(n_bytes)
        _trim()


def clear_tables() -> None:
    """Forget all tables in memory; those on disk stay."""
    with _LOCK:
        _KEPT.clear()


def _trim() -> None:
    """Drop the oldest tables beyond the limit, but for the last."""
    total = sum(tables.nbytes for tables in _KEPT.values())
    while total > _limit and len(_KEPT) > 1:
        _, dropped = _KEPT.popitem(last=False)
        total -= dropped.nbytes


def make_tables(
    model: SedModel,
    filters: Sequence[str | Path | Filter],
    z: float,
    *,
    a_v_range: tuple[float, float] = (0.0, 1.0),
    log_u_range: tuple[float, float] | None = None,
    n_av: int | None = None,
    distance: Any = None,
    cosmology: FLRW | None = None,
) -> BandTables:
    """Return the band fluxes of all stellar populations of a model at a redshift.

    Parameters
    ----------
    model : SedModel
        The model; its history does not matter here.
    filters : sequence of str, Path or Filter
        Bands, as `~sc_lab.sed.get_filters` takes them.
    z : float
        Redshift.
    a_v_range : tuple of float, optional
        Range of A_V [mag] in which the table is interpolated.
    log_u_range : tuple of float, optional
        Range of log U that is needed; None keeps all nodes of the library.
    n_av : int, optional
        Number of nodes of A_V; None takes as many as give 1e-13.
    distance : float or `~astropy.units.Quantity`, optional
        Luminosity distance [Mpc]; None takes that of the redshift.
    cosmology : `~astropy.cosmology.FLRW`, optional
        None is flat, 70, 0.3; ``compat`` knows no other.

    Returns
    -------
    BandTables
        The tables. They are kept in memory and on disk, by all that decides their numbers.

    Raises
    ------
    InputError
        If the redshift is out of range, a band is unknown or not covered by the library, or a range is empty.

    Notes
    -----
    With S the spectrum of a population, t the transmission of dust, G_b the weights of a filter and D_b the flux of
    dust that radiates one unit of light, the flux is sum_lambda S [t G_b + w (1 - t) D_b]: linear in S, so that one
    matrix product per band gives all populations at all nodes of A_V.

    Examples
    --------
    >>> from sc_lab.sed import SedModel, make_tables
    >>> tables = make_tables(SedModel(mode="compat"), ["F150W", "F200W"], 2.0)
    >>> tables.bands_and_v, tables.stellar.shape[1]
    (('F150W', 'F200W', 'V_rest'), 7)
    """
    curves = get_filters(filters)
    if not curves:
        msg = "there are no bands; give at least one"
        raise InputError(msg)
    frame = frame_at(model.mode, z, distance=distance, cosmology=cosmology)
    nodes = _checked_a_v(model, a_v_range, n_av)
    kept_u = _log_u_indices(model, log_u_range)
    decisive = [
        code_version(), [str(each) for each in model.spectral_key], [each.digest for each in curves], v_filter().digest,
        [x.hex() for x in (frame.z, frame.luminosity_distance, frame.age_of_universe)], [x.hex() for x in nodes.tolist()],
        kept_u.tolist(),
    ]  # fmt: skip
    digest = hashlib.sha256(json.dumps(decisive).encode()).hexdigest()
    with _LOCK:
        found = _KEPT.get(digest)
        if found is not None:
            _KEPT.move_to_end(digest)
            # Histories and names of bands may differ where the numbers do not.
            return _labelled(found, model, curves)
        waiting = _BUILDING.setdefault(digest, threading.Lock())
    with waiting:
        with _LOCK:
            found = _KEPT.get(digest)
        if found is None:
            found = _load_or_build(model, curves, frame, nodes, kept_u, digest)
            with _LOCK:
                _KEPT[digest] = found
                _trim()
    with _LOCK:
        _BUILDING.pop(digest, None)
    return _labelled(found, model, curves)


def _labelled(tables: BandTables, model: SedModel, curves: tuple[Filter, ...]) -> BandTables:
    """Return tables with the names and the history that were asked for."""
    names = tuple(each.name for each in curves)
    if tables.model == model and tables.bands == names:
        return tables
    return BandTables(**{**tables.__dict__, "model": model, "bands": names})


def _checked_a_v(model: SedModel, a_v_range: tuple[float, float], n_av: int | None) -> FloatArray:
    """Return the nodes of A_V of a valid range."""
    try:
        low, high = (float(end) for end in a_v_range)
    except (TypeError, ValueError):
        low, high = math.nan, math.nan
    if not (math.isfinite(low) and math.isfinite(high) and 0.0 <= low <= high <= 20.0):
        msg = f"a_v_range is {a_v_range!r}; give two numbers, 0 <= low <= high <= 20 mag"
        raise InputError(msg)
    if n_av is not None and not (isinstance(n_av, int) and 2 <= n_av <= 200):
        msg = f"n_av is {n_av!r}; give a number of nodes from 2 to 200, or None"
        raise InputError(msg)
    bluest = float(attenuation_curve(model, np.array([_BLUEST]))[0])
    return a_v_nodes(low, high, steepest=1.2 * bluest * max(1.0, model.eta), n_node=n_av)


def _log_u_indices(model: SedModel, log_u_range: tuple[float, float] | None) -> Any:
    """Return which nodes of log U are needed."""
    library = model.loaded_library
    if not model.nebular:
        return np.arange(0)
    if not library.has_nebular:
        msg = f"the library {library.title} has no nebular grids; use SedModel(nebular=False), or give them to load_library"
        raise InputError(msg)
    nodes = library.log_u
    if log_u_range is None:
        return np.arange(nodes.size)
    low, high = float(log_u_range[0]), float(log_u_range[1])
    if not nodes[0] <= low <= high <= nodes[-1]:
        msg = f"log_u_range is {log_u_range!r}; the library has log U from {nodes[0]:g} to {nodes[-1]:g}"
        raise InputError(msg)
    first = int(np.searchsorted(nodes, low, side="right")) - 1
    last = int(np.searchsorted(nodes, high, side="left"))
    return np.arange(first, last + 1)


def _load_or_build(
    model: SedModel, curves: tuple[Filter, ...], frame: Frame, nodes: FloatArray, kept_u: Any, digest: str
) -> BandTables:
    """Return tables from disk, or make and store them."""
    bins = age_bins(model)
    path = cache_folder() / "tables" / f"{digest[:40]}.npz"
    stored = load_arrays(path)
    n_bin = bins.upto(frame.age_of_universe)
    n_metal, n_band = model.loaded_library.metallicity.size, len(curves) + 1
    shapes = {
        "stellar": (n_bin, n_metal, nodes.size, n_band),
        "nebular": (bins.n_young, n_metal, len(kept_u), nodes.size, n_band),
        "pivot": (n_band,),
    }
    if stored is None or any(stored.get(name, np.empty(0)).shape != shape for name, shape in shapes.items()):
        with one_blas_thread():
            stored = build(model, curves, frame, nodes, kept_u, bins, n_bin)
        if save_arrays(path, stored):
            prune(path.parent)
    return BandTables(
        stellar=stored["stellar"], nebular=stored["nebular"], metallicity=model.loaded_library.metallicity,
        log_u=model.loaded_library.log_u[kept_u] if model.nebular else np.empty(0), a_v=nodes,
        bands=tuple(each.name for each in curves), pivot=stored["pivot"], z=frame.z,
        luminosity_distance=frame.luminosity_distance, age_of_universe=frame.age_of_universe, bins=bins, model=model,
        digest=digest,
    )  # fmt: skip
