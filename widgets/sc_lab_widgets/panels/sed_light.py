"""The light of one clump as an SED fit takes it: bands, fluxes, errors, redshift and magnification of a row."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sc_lab.catalog import values
from sc_lab.clumps.sed_fits import usable_bands
from sc_lab.cosmology import default_cosmology
from sc_lab.session.refitting import catalog_fluxes, recorded_cosmology

if TYPE_CHECKING:
    from astropy.table import Table

    from sc_lab.population import Population

__all__ = ["LEAST", "LIMIT", "Light", "Lights"]

#: Fluxes below this many sigma are drawn as limits.
LIMIT: Final = 3.0
#: Bands that an SED needs.
LEAST: Final = 2


@dataclass(frozen=True, eq=False)
class Light:
    """Photometry of a clump.

    Attributes
    ----------
    id : str
        The clump.
    bands : tuple of str
        Bands, those of its whole catalogue.
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
    cosmology : tuple of float or None
        Hubble constant and densities of the catalogue, where they are not the usual ones.
    """

    id: str
    bands: tuple[str, ...]
    flux: np.ndarray
    flux_err: np.ndarray
    z: float
    mu: float
    shape_err: float = 0.0
    unknown: tuple[str, ...] = ()
    cosmology: tuple[float, float, float] | None = None
    key: tuple[Any, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Make the key by which fits of the same light are found again."""
        numbers = (self.flux.tobytes(), self.flux_err.tobytes())
        object.__setattr__(self, "key", (self.id, self.bands, *numbers, self.z, self.shape_err, self.cosmology))

    @property
    def observed(self) -> np.ndarray:
        """Which bands a fit can take, shape (n_band,)."""
        return np.isfinite(self.flux) & np.isfinite(self.flux_err) & (self.flux_err > 0)

    @property
    def detected(self) -> np.ndarray:
        """Which bands the clump is seen in, shape (n_band,)."""
        with np.errstate(invalid="ignore"):
            return self.flux > LIMIT * self.flux_err


class Lights:
    """Reads the light of rows out of populations, as fits of whole lists do."""

    def __init__(self) -> None:
        self._catalog: Any = None
        self.bands: tuple[str, ...] = ()
        self.unknown: tuple[str, ...] = ()

    def read(self, population: Population) -> None:
        """Read every band of a catalogue once: a click then only takes a row.

        Parameters
        ----------
        population : Population
            Whose catalogue.
        """
        catalog = population.catalog
        if catalog is self._catalog:
            return
        fluxes = catalog_fluxes(catalog)
        self.bands, self.unknown = usable_bands(fluxes)
        shape = (len(self.bands), len(catalog))
        self._flux, self._error = (
            np.array([fluxes[band][part] for band in self.bands], dtype=float).reshape(shape).T for part in (0, 1)
        )
        bad = ~(np.isfinite(self._flux) & (self._error > 0) & np.isfinite(self._error))
        self._flux[bad] = self._error[bad] = np.nan
        self._z, self._shape = values(catalog, "z"), values(catalog, "flux_shape_err")
        self._cosmology = _cosmology(catalog)
        self._catalog = catalog

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
            The light, in all bands of the catalogue: the same tables then serve every clump of a redshift.
        """
        self.read(population)
        shape = float(self._shape[row])
        return Light(
            id=population.ids[row],
            bands=self.bands,
            flux=self._flux[row],
            flux_err=self._error[row],
            z=float(self._z[row]),
            mu=float(population.values("mu")[row]),
            shape_err=shape if np.isfinite(shape) and shape > 0 else 0.0,
            unknown=self.unknown,
            cosmology=self._cosmology,
        )

    def has_light(self, population: Population) -> np.ndarray:
        """Return which rows have a redshift and enough detections for a fit to tell something, shape (n,).

        Parameters
        ----------
        population : Population
            Whose rows.
        """
        self.read(population)
        with np.errstate(invalid="ignore"):
            seen = self._flux > LIMIT * self._error
        return np.asarray((seen.sum(axis=1) >= LEAST) & np.isfinite(self._z) & (self._z > 0))

    def redshifts(self, population: Population) -> np.ndarray:
        """Return the redshifts of all rows, shape (n,); NaN where unknown.

        Parameters
        ----------
        population : Population
            Whose rows.
        """
        self.read(population)
        return np.asarray(self._z)


def _cosmology(catalog: Table) -> tuple[float, float, float] | None:
    """Return Hubble constant and densities that a catalogue was made with; None for the usual ones."""
    made, usual = recorded_cosmology(catalog), default_cosmology()
    numbers, others = ([float(part) for part in (each.H0.value, each.Om0, each.Ode0)] for each in (made, usual))
    return None if np.allclose(numbers, others) else (numbers[0], numbers[1], numbers[2])
