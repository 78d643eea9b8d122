"""Tracks of single stellar populations at the lens redshift in the globular-cluster colour plane."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import astropy.units as u
import numpy as np
from astropy.table import QTable

from sc_lab.errors import InputError
from sc_lab.units import AGE, FloatArray, value_in

if TYPE_CHECKING:
    from astropy.cosmology import FLRW

    from sc_lab.sed.libraries import Library

__all__ = ["TRACK_AGES", "TRACK_BANDS", "gc_tracks"]

History = Literal["burst", "constant10"]

#: Bands of the plane: x = second - third, y = first - second.
TRACK_BANDS = ("F150W", "F200W", "F356W")
#: Ages at which the tracks are drawn [Myr]: 1 Myr to 7 Gyr, the round ones among them.
TRACK_AGES: tuple[float, ...] = tuple(
    float(f"{age:.4g}") for age in np.unique(np.r_[np.geomspace(1.0, 7000.0, 93), 10.0, 100.0, 1000.0])
)
_HISTORIES: tuple[History, ...] = ("burst", "constant10")
_DURATION = 10.0


def gc_tracks(
    z_lens: float,
    *,
    metallicities: Sequence[float] = (0.02, 0.4),
    ages: Any = None,
    histories: Sequence[History] = _HISTORIES,
    library: str | Library = "bc03",
    covering: float = 0.5,
    log_u: float = -2.0,
    cosmology: FLRW | None = None,
) -> QTable:
    """Return the colours of stellar populations of one age at the redshift of the lens.

    Parameters
    ----------
    z_lens : float
        Redshift of the lens, above zero.
    metallicities : sequence of float, optional
        In units of the Sun's 0.02.
    ages : `~astropy.units.Quantity` or array_like, optional
        Times since the first star formed; bare numbers are Myr. None takes 1 Myr to 7 Gyr. Those above the age of
        the Universe at the lens are left out.
    histories : sequence of {"burst", "constant10"}, optional
        All stars at once, or at a constant rate over 10 Myr.
    library : str or Library, optional
        Stellar library, as `~sc_lab.sed.load_library` names it, or loaded.
    covering : float, optional
        Fraction of the young stars' light that meets their gas, 0 to 1; the rest escapes past it. A library without
        nebular grids has none.
    log_u : float, optional
        log10 of the ionisation parameter of that gas.
    cosmology : `~astropy.cosmology.FLRW`, optional
        Decides which ages there are; None is flat, 70, 0.3.

    Returns
    -------
    `~astropy.table.QTable`
        One row an age: ``history``, ``metallicity`` [0.02], ``age`` [Myr], ``x`` = F200W - F356W and ``y`` =
        F150W - F200W [AB mag], track after track by rising age. ``meta`` names the library and every choice.

    Raises
    ------
    InputError
        If a redshift, metallicity, age or fraction is out of its range, or a history unknown.
    OptionalDependencyError
        If the library's grids are not installed.

    Notes
    -----
    As in Claeyssens et al. 2026, section 3.1.3 and figure 2: no dust, an instantaneous burst and a constant rate over
    10 Myr, 2 % and 40 % of the solar metallicity, nebular covering fraction 0.5. Colours do not depend on mass.

    Examples
    --------
    >>> from sc_lab.colours import gc_membership, gc_tracks
    >>> old = gc_tracks(0.35, metallicities=[0.4], ages=[3000.0], histories=["burst"])[0]
    >>> round(float(old["x"].value), 1), round(float(old["y"].value), 1)
    (-0.6, 0.1)
    """
    from sc_lab.sed.libraries import load_library

    shift = _number(z_lens, "z_lens", 0.0, 30.0)
    if shift == 0.0:
        msg = "z_lens is 0; give the redshift of the lens, above zero"
        raise InputError(msg)
    if isinstance(metallicities, int | float) or isinstance(histories, str):
        msg = "metallicities and histories are lists; give for example [0.02, 0.4] and ['burst']"
        raise InputError(msg)
    zsun = tuple(_number(each, "a metallicity", 1e-6, 10.0) for each in metallicities)
    wanted = tuple(histories)
    unknown = [each for each in wanted if each not in _HISTORIES]
    if unknown or not wanted or not zsun:
        found = f"there is no history {unknown[0]!r}" if unknown else "there is no history or no metallicity"
        msg = f"{found}; give one or more of {', '.join(_HISTORIES)}, and metallicities in units of 0.02"
        raise InputError(msg)
    times = np.array(TRACK_AGES) if ages is None else np.unique(np.atleast_1d(value_in(ages, AGE, "ages")))
    if not (np.isfinite(times).all() and (times > 0).all()):
        msg = "ages has a value that is not finite or not above zero; give times in Myr"
        raise InputError(msg)
    loaded = load_library(library) if isinstance(library, str) else library
    x, y, kept = _colours(
        shift, zsun, tuple(times.tolist()), wanted, loaded, _number(covering, "covering", 0.0, 1.0),
        _number(log_u, "log_u", -10.0, 5.0), cosmology,
    )  # fmt: skip
    n = kept.size
    return QTable(
        {
            "history": np.repeat(np.array(wanted), len(zsun) * n),
            "metallicity": np.tile(np.repeat(np.array(zsun), n), len(wanted)),
            "age": np.tile(kept, len(wanted) * len(zsun)) * u.Myr,
            "x": x.ravel() * u.mag,
            "y": y.ravel() * u.mag,
        },
        meta={
            "z_lens": shift,
            "library": loaded.title,
            "library_sha256": loaded.digest,
            "covering": covering if loaded.has_nebular else 0.0,
            "log_u": log_u,
            "bands": list(TRACK_BANDS),
        },
    )


def _number(value: Any, name: str, low: float, high: float) -> float:
    """Return one number within its range."""
    number = value_in(value, u.dimensionless_unscaled, name)
    if number.ndim or not low <= float(number) <= high:
        msg = f"{name} is {value!r}; give one number from {low:g} to {high:g}"
        raise InputError(msg)
    return float(number)


@lru_cache(maxsize=32)
def _colours(
    z_lens: float,
    metallicities: tuple[float, ...],
    ages: tuple[float, ...],
    histories: tuple[str, ...],
    library: Library,
    covering: float,
    log_u: float,
    cosmology: FLRW | None,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return x and y, shape (n_history, n_metal, n_age), and the ages [Myr] that there are."""
    from sc_lab.sed.model import SedModel
    from sc_lab.sed.sfh import state_weights
    from sc_lab.sed.tables import make_tables

    def model(history: str) -> SedModel:
        return SedModel(
            sfh="burst" if history == "burst" else "constant",
            duration=None if history == "burst" else _DURATION,
            library=library,
            # Stars uncovered by gas shine as they are, and nothing else is left of them.
            nebular=library.has_nebular and covering > 0.0,
            escape_fraction=1.0 - covering,
            dust_emission=False,
        )

    gas = (log_u, log_u) if library.has_nebular and covering > 0.0 else None
    tables = make_tables(
        model("burst"), TRACK_BANDS, z_lens, a_v_range=(0.0, 0.0), log_u_range=gas, cosmology=cosmology
    )
    kept = np.array([age for age in ages if age * 1e6 <= tables.age_of_universe], dtype=np.float64)
    if not kept.size:
        msg = f"all ages are above that of the Universe at z = {z_lens:g}, {tables.age_of_universe / 1e6:.0f} Myr"
        raise InputError(msg)
    metal = tables.metallicity_weights(np.array(metallicities))
    stars = np.einsum("kzb,mz->mkb", tables.stellar[:, :, 0, :3], metal)
    if tables.n_young and tables.log_u.size:
        ion = tables.log_u_weights(np.array([log_u]))[0]
        stars[:, : tables.n_young] += np.einsum("kzub,mz,u->mkb", tables.nebular[:, :, :, 0, :3], metal, ion)
    flux = np.stack(
        [
            np.einsum("ak,mkb->mab", state_weights(model(each), kept * 1e6, n_bin=tables.n_bin), stars)
            for each in histories
        ]
    )
    magnitude = -2.5 / math.log(10.0) * np.log(flux)
    x, y = magnitude[..., 1] - magnitude[..., 2], magnitude[..., 0] - magnitude[..., 1]
    for each in (x, y, kept):
        each.flags.writeable = False
    return x, y, kept
