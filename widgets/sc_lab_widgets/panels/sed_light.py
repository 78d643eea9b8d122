"""The light of one clump as an SED fit takes it: bands, fluxes, errors, redshift and magnification of a row."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sc_lab.catalog import find_column, flags, values

if TYPE_CHECKING:
    from collections.abc import Callable

    from astropy.table import Table

    from sc_lab.population import Population

__all__ = ["LIMIT", "Light", "Lights", "bands_of"]

#: A magnitude limit stands for a flux of zero with a third of the limit as error; fainter fluxes are drawn as limits.
LIMIT: Final = 3.0
#: AB magnitude of 1 nJy.
_ZERO_POINT: Final = 31.4
_POGSON: Final = 2.5 / np.log(10.0)


@dataclass(frozen=True, eq=False)
class Light:
    """Photometry of a clump.

    Attributes
    ----------
    id : str
        The clump.
    bands : tuple of str
        Bands, those of its whole field.
    flux, flux_err : ndarray, shape (n_band,)
        Observed flux densities and errors [nJy]; NaN where not observed.
    z : float
        Redshift; NaN where unknown.
    mu : float
        Magnification; NaN where unknown.
    shape_err : float
        Fraction common to the fluxes of all bands; 0 where unknown.
    unknown : tuple of str
        Bands without a filter curve, which no fit can take.
    """

    id: str
    bands: tuple[str, ...]
    flux: np.ndarray
    flux_err: np.ndarray
    z: float
    mu: float
    shape_err: float = 0.0
    unknown: tuple[str, ...] = ()
    key: tuple[Any, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Make the key by which fits of the same light are found again."""
        numbers = (self.flux.tobytes(), self.flux_err.tobytes())
        object.__setattr__(self, "key", (self.id, self.bands, *numbers, self.z, self.shape_err))

    @property
    def observed(self) -> np.ndarray:
        """Which bands a fit can take, shape (n_band,)."""
        return np.isfinite(self.flux) & np.isfinite(self.flux_err) & (self.flux_err > 0)


def bands_of(catalog: Table) -> tuple[str, ...]:
    """Return the bands that a catalogue has light in.

    Parameters
    ----------
    catalog : Table
        The catalogue.

    Returns
    -------
    tuple of str
        Names in capitals, such as ``F150W``, in the order of the columns.
    """
    found: dict[str, None] = {}
    for name in catalog.colnames:
        kind, _, band = name.partition("_")
        # Errors, limits and the like have names with one more part.
        if kind in ("flux", "mag") and band and "_" not in band and find_column(name) is not None:
            found[band.upper()] = None
    return tuple(found)


class Lights:
    """Reads the light of rows out of populations.

    Parameters
    ----------
    known : callable
        Tells whether there is a filter curve for a band.
    """

    def __init__(self, known: Callable[[str], bool]) -> None:
        self._known = known
        self._catalog: Any = None

    def _read(self, catalog: Table) -> None:
        """Read every band once: a click then only takes a row."""
        if catalog is self._catalog:
            return
        self._catalog = catalog
        self.bands = bands_of(catalog)
        shape = (len(catalog), len(self.bands))
        self._flux, self._error = np.full(shape, np.nan), np.full(shape, np.nan)
        for column, band in enumerate(self.bands):
            self._flux[:, column], self._error[:, column] = _band(catalog, band.lower())
        bad = ~(np.isfinite(self._flux) & (self._error > 0) & np.isfinite(self._error))
        self._flux[bad] = self._error[bad] = np.nan
        self._z = values(catalog, "z")
        self._shape = values(catalog, "flux_shape_err")
        self._fields = np.asarray(catalog["field"]).astype(str) if "field" in catalog.colnames else None
        self._with_curve = np.array([self._known(band) for band in self.bands], dtype=bool)
        self._used: dict[str, np.ndarray] = {}

    def _bands_of_field(self, row: int) -> np.ndarray:
        """Return which bands its field was observed in: the same tables then serve every clump of a redshift."""
        name = "" if self._fields is None else str(self._fields[row])
        if name not in self._used:
            here = slice(None) if self._fields is None else self._fields == name
            self._used[name] = np.isfinite(self._flux[here]).any(axis=0)
        return self._used[name]

    def of(self, population: Population, row: int) -> Light:
        """Return the light of a clump.

        Parameters
        ----------
        population : Population
            Where it is.
        row : int
            Which.

        Returns
        -------
        Light
            The light; without any band where the catalogue has none.
        """
        self._read(population.catalog)
        here = self._bands_of_field(row)
        taken = here & self._with_curve
        shape = float(self._shape[row])
        return Light(
            id=population.ids[row],
            bands=tuple(np.array(self.bands, dtype=object)[taken]),
            flux=self._flux[row, taken],
            flux_err=self._error[row, taken],
            z=float(self._z[row]),
            mu=float(population.values("mu")[row]),
            shape_err=shape if np.isfinite(shape) and shape > 0 else 0.0,
            unknown=tuple(np.array(self.bands, dtype=object)[here & ~self._with_curve]),
        )

    def has_light(self, population: Population) -> np.ndarray:
        """Return which rows a fit can be made of, shape (n,)."""
        self._read(population.catalog)
        enough = np.isfinite(self._flux[:, self._with_curve]).sum(axis=1) >= 2
        return np.asarray(enough & np.isfinite(self._z) & (self._z > 0))

    def redshifts(self, population: Population) -> np.ndarray:
        """Return the redshifts of all rows, shape (n,); NaN where unknown."""
        self._read(population.catalog)
        return np.asarray(self._z)


def _band(catalog: Table, band: str) -> tuple[np.ndarray, np.ndarray]:
    """Return flux and error of a band [nJy], from fluxes where there are some and from magnitudes elsewhere."""
    flux, error = values(catalog, f"flux_{band}"), values(catalog, f"flux_{band}_err")
    if f"mag_{band}" not in catalog.colnames:
        return flux, error
    mag, mag_err = values(catalog, f"mag_{band}"), values(catalog, f"mag_{band}_err")
    light = 10.0 ** ((_ZERO_POINT - mag) / 2.5)
    faint = flags(catalog, f"mag_{band}_is_limit")
    missing = ~np.isfinite(flux) | ~np.isfinite(error)
    from_mag = np.where(faint, 0.0, light), np.where(faint, light / LIMIT, light * mag_err / _POGSON)
    return np.where(missing, from_mag[0], flux), np.where(missing, from_mag[1], error)
