"""The light of mock objects: their metals and gas, and what stellar population models make of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import astropy.units as u
import numpy as np

from sc_lab import sed
from sc_lab.cosmology import default_cosmology
from sc_lab.sed._store import cache_folder, load_arrays, save_arrays
from sc_lab.sed.filters import get_filters
from sc_lab.sed.model import SedModel
from sc_lab.sed.sfh import age_bins, state_weights
from sc_lab.sed.spectra import model_fluxes
from sc_lab.sed.tables import linear_weights
from sc_lab.units import FloatArray

__all__ = [
    "BANDS",
    "CLUSTERS",
    "GALAXIES",
    "GLOBULARS",
    "SOLAR",
    "Light",
    "draw_gas",
    "draw_old_metals",
    "light",
    "recent_share",
]

#: The nine bands of GLIMPSE, as the columns of a catalogue name them.
BANDS = ("f090w", "f115w", "f150w", "f200w", "f277w", "f356w", "f410m", "f444w", "f480m")
#: AB magnitude of 1 nJy.
_ZERO_POINT = 31.4
#: From so many models on, their fluxes are kept on disk.
_WORTH_KEEPING = 300
#: Metal fraction that metallicities are in units of.
SOLAR = 0.02
#: Clusters form stars as in the reference fits of Claeyssens et al. 2026, section 3.4, old systems all at once, and
#: discs over a hundred million years.
CLUSTERS = SedModel(sfh="exponential", tau=1.0)
GLOBULARS = SedModel(sfh="burst")
GALAXIES = SedModel(sfh="exponential", tau=100.0)


@dataclass(frozen=True, eq=False)
class Light:
    """What stellar populations of one solar mass, in living stars and remnants, send us.

    Attributes
    ----------
    flux : ndarray, shape (n, bands)
        Observed flux without magnification [nJy].
    abs_mag_v : ndarray, shape (n,)
        Absolute AB magnitude in V, dust included.
    formed : ndarray, shape (n,)
        Mass formed [Msun]: what has been lost since, too.
    """

    flux: FloatArray
    abs_mag_v: FloatArray
    formed: FloatArray


def light(
    z: FloatArray,
    age: FloatArray,
    a_v: FloatArray,
    metallicity: FloatArray,
    log_u: FloatArray,
    *,
    bands: Sequence[str] = BANDS,
    model: SedModel = CLUSTERS,
) -> Light:
    """Return the light of stellar populations.

    Parameters
    ----------
    z : ndarray, shape (n,)
        Redshift.
    age : ndarray, shape (n,)
        Time since the first stars formed [Myr].
    a_v : ndarray, shape (n,)
        Dust attenuation in V [mag].
    metallicity : ndarray, shape (n,)
        Metallicity in units of the Sun's 0.02.
    log_u : ndarray, shape (n,)
        log10 of the ionisation parameter of the gas.
    bands : sequence of str
        Bands of the fluxes.
    model : SedModel
        Star-formation history and all else that decides the light.

    Returns
    -------
    Light
        For one solar mass each.

    Notes
    -----
    The same models as `sc_lab.sed.fit_photometry` fits by default, so that fits find the truth again.
    """
    values = {"age": age, "metallicity": metallicity, "a_v": a_v, "log_u": log_u, "log_mass_formed": np.zeros(len(z))}
    names = [band.upper() for band in bands]
    flux = _kept_fluxes(model, names, z, values)
    library, weights = model.loaded_library, state_weights(model, np.asarray(age) * 1e6)
    by_metal = linear_weights(library.metallicity, np.asarray(metallicity))
    living = ((weights @ age_bins(model).live[: weights.shape[1]]) * by_metal).sum(axis=1)
    observed = _ZERO_POINT - 2.5 * np.log10(flux[:, -1] / living)
    modulus = default_cosmology().distmod(z).to_value(u.mag)
    return Light(flux[:, :-1] / living[:, None], observed - modulus + 2.5 * np.log10(1.0 + z), 1.0 / living)


def _kept_fluxes(model: SedModel, names: list[str], z: FloatArray, values: dict[str, FloatArray]) -> FloatArray:
    """Return fluxes in the bands and in V, from disk where the same models were asked for before.

    A demonstration asks for the same thousands of models each time, and they take as long as all the rest of it.
    """
    if len(z) < _WORTH_KEEPING:
        return model_fluxes(model, names, z, values, with_v=True)
    # All that decides the numbers: the code, the library, the curves, the model and the parameters.
    known = hashlib.sha256()
    for path in sorted(Path(sed.__file__).parent.glob("*.py")):
        known.update(path.read_bytes())
    said = [model.record(), model.loaded_library.digest, [each.digest for each in get_filters(names)], np.__version__]
    known.update(json.dumps(said, sort_keys=True, default=str).encode())
    for name, array in {"z": z, **values}.items():
        known.update(name.encode() + np.ascontiguousarray(array, dtype=np.float64).tobytes())
    path = cache_folder() / f"light_{known.hexdigest()[:32]}.npz"
    stored = load_arrays(path)
    if stored is not None and "flux" in stored and stored["flux"].shape == (len(z), len(names) + 1):
        return np.asarray(stored["flux"], dtype=np.float64)
    flux = model_fluxes(model, names, z, values, with_v=True)
    save_arrays(path, {"flux": flux})
    return flux


def draw_gas(normal: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return metallicities and ionisation parameters of young clusters.

    Parameters
    ----------
    normal : ndarray, shape (n, 2)
        Standard normal deviates.

    Returns
    -------
    tuple of ndarray
        Metallicity in units of the Sun's, 0.26 to 0.67 about 0.42; log U, -1.6 to -1.02 about -1.3.

    Notes
    -----
    As in bright knots of young galaxies, which have a few tenths of solar metals and highly ionised gas. With less
    ionised gas, or more or fewer metals, lines in F200W would give many more clusters of 2 to 7 Myr at z = 0.9 to 3.6
    the colours of the box of globular clusters; with these, about one clump in 150 has them.
    """
    metallicity = 0.42 * 10.0 ** (0.08 * np.clip(normal[:, 0], -2.5, 2.5))
    return metallicity, np.clip(-1.3 + 0.12 * normal[:, 1], -1.6, -1.02)


def draw_old_metals(normal: FloatArray) -> FloatArray:
    """Return metallicities of globular clusters.

    Parameters
    ----------
    normal : ndarray, shape (n,)
        Standard normal deviates.

    Returns
    -------
    ndarray
        In units of the Sun's, 0.08 to 0.4 about 0.18.
    """
    return np.asarray(0.18 * 10.0 ** (0.14 * np.clip(normal, -2.5, 2.5)))


def recent_share(age: FloatArray, tau: float) -> FloatArray:
    """Return the share of all stars formed that formed in the last 10 Myr.

    Parameters
    ----------
    age : ndarray
        Time since the first stars formed [Myr].
    tau : float
        e-folding time of the star formation [Myr].

    Returns
    -------
    ndarray
        0 to 1.
    """
    gone, left = (np.exp(-np.maximum(age - ago, 0.0) / tau) for ago in (10.0, 0.0))
    return np.asarray((gone - left) / (1.0 - left))
