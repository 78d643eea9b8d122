"""What clumps are measured on: images, galaxies, lens models and settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sc_lab.clumps.sed_settings import SedSettings
from sc_lab.cosmology import default_cosmology, describe
from sc_lab.errors import InputError

if TYPE_CHECKING:
    from astropy.cosmology import FLRW
    from astropy.table import Table

__all__ = ["PROVENANCES", "Observation"]

#: Where a position comes from (Claeyssens et al. 2026, section 3.1.2: detection, then corrections by eye).
PROVENANCES = ("auto", "added", "moved", "split", "merged")


@dataclass(frozen=True, eq=False, kw_only=True)
class Observation:
    """Everything besides the positions that decides what is measured.

    Attributes
    ----------
    field : Field
        Images of every band, `sc_lab.images.Field`.
    galaxies : sequence of Galaxy or None
        Contours with redshift; those of the field when None.
    lenses : mapping of str to LensModel, sequence of LensModel or None
        Lens models by name. The first is the reference, whose magnifications go into ``mu`` and
        ``mu_t``; the others into ``mu_<name>`` and ``mu_t_<name>``. Those of the field when None.
    reference : str or None
        Band in which positions and shapes are fitted; that of the field when None.
    bands : sequence of str or None
        Bands with forced photometry; all of the field when None.
    mode : {"paper", "full"}
        As in `sc_lab.photometry.fit_clumps`.
    background : {"host", "plane"}
        What the light under a clump is taken for, as in `sc_lab.photometry.fit_clumps`: the host with its curvature,
        and its shape in the reference for the other bands; or a tilted plane, as in Claeyssens et al. 2026.
    box : int
        Width of the fitted box [px].
    centre : {"prior", "free", "fixed"}
        How the centre is treated in the other bands.
    age : float
        Age [Myr] at which provisional masses are worked out where no SED can be fitted, see `sc_lab.clumps.light`.
    sed : SedSettings or None
        Settings of the SED fits, which every clump with a redshift and two detected bands has; None fits none,
        and all masses are provisional.
    sed_own : mapping of str to SedSettings
        Settings of single clumps, by id.
    properties : Table or None
        Catalogue of masses, ages and the like by ``id``, from SED fits made elsewhere or as truth; where it has a
        clump, its mass, age and the like stand, with their draws, in place of those of a fit.
    n_draws : int
        Realisations of the lens models for the errors of the magnifications.
    seed : int
        Seed of those realisations, clump by clump.
    cosmology : FLRW
        Cosmology of distances.
    """

    field: Any
    galaxies: Sequence[Any] | None = None
    lenses: Mapping[str, Any] | Sequence[Any] | None = None
    reference: str | None = None
    bands: Sequence[str] | None = None
    mode: str = "paper"
    background: str = "host"
    box: int = 9
    centre: str = "prior"
    age: float = 10.0
    sed: SedSettings | None = field(default_factory=SedSettings)
    sed_own: Mapping[str, SedSettings] = field(default_factory=dict)
    properties: Table | None = None
    n_draws: int = 100
    seed: int = 1
    cosmology: FLRW = field(default_factory=default_cosmology)

    def __post_init__(self) -> None:
        if self.mode not in ("paper", "full"):
            msg = f"mode is {self.mode!r}; give 'paper' or 'full'"
            raise InputError(msg)
        if self.background not in ("host", "plane"):
            msg = f"background is {self.background!r}; give 'host' or 'plane'"
            raise InputError(msg)
        if self.centre not in ("prior", "free", "fixed"):
            msg = f"centre is {self.centre!r}; give 'prior', 'free' or 'fixed'"
            raise InputError(msg)
        if not isinstance(self.age, (int, float, np.number)) or not 0 < self.age < np.inf:
            msg = f"age is {self.age!r}; give a number of Myr above 0"
            raise InputError(msg)
        if not isinstance(self.sed, SedSettings | None):
            msg = f"sed is {self.sed!r}; give SedSettings(...), or None for no SED fits"
            raise InputError(msg)
        if isinstance(self.bands, str):
            msg = f"bands is {self.bands!r}; give a sequence, such as [{self.bands!r}]"
            raise InputError(msg)
        if self.field is None:
            msg = "field is None; give the images, sc_lab.images.Field"
            raise InputError(msg)

    @property
    def reference_band(self) -> str:
        """Name of the band in which positions and shapes are fitted."""
        return str(self.reference or getattr(self.field, "reference", ""))

    @property
    def band_names(self) -> tuple[str, ...]:
        """Names of the bands that are measured."""
        return tuple(self.bands if self.bands is not None else getattr(self.field, "names", ()))

    @property
    def galaxy_list(self) -> tuple[Any, ...]:
        """The galaxies, of the observation or of its field."""
        given = getattr(self.field, "galaxies", ()) if self.galaxies is None else self.galaxies
        return tuple(given or ())

    @property
    def lens_models(self) -> dict[str, Any]:
        """Lens models by name, the reference first."""
        given = getattr(self.field, "lenses", ()) if self.lenses is None else self.lenses
        if isinstance(given, Mapping):
            return dict(given)
        out: dict[str, Any] = {}
        for number, lens in enumerate(given or (), start=1):
            out[str(getattr(lens, "name", "") or f"m{number}")] = lens
        return out

    def agrees_with(self, other: Observation) -> bool:
        """Return whether fits of one observation become the same rows in another, galaxies aside.

        Parameters
        ----------
        other : Observation
            The other one.

        Returns
        -------
        bool
            Whether field, lens models, cosmology and settings are the same.
        """
        if self is other:
            return True
        mine, theirs = self.lens_models, other.lens_models
        return (
            self.field is other.field
            and self.properties is other.properties
            and list(mine) == list(theirs)
            and all(mine[name] is theirs[name] for name in mine)
            and self.record() == other.record()
        )

    def about(self) -> dict[str, Any]:
        """Return what the metadata of a catalogue say of its origin: field, cosmology, reference lens model.

        Returns
        -------
        dict
            ``source``, ``cosmology`` and ``lens_model``, as exports and analyses read them.
        """
        return {
            "source": str(getattr(self.field, "name", "") or "") or "clumps of a field",
            "cosmology": describe(self.cosmology),
            "lens_model": next(iter(self.lens_models), ""),
        }

    def record(self, *, hashes: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return what the provenance says of the observation, as JSON values.

        Parameters
        ----------
        hashes : mapping of str to str, optional
            SHA-256 of the image of each band, once it is known.

        Returns
        -------
        dict
            Field, bands, hashes, reference band, mode, background, box, centre, lens models, SED settings and cosmology.
        """
        own = {name: {**each.record(), "key": each.key} for name, each in sorted(self.sed_own.items())}
        return {
            "field": str(getattr(self.field, "name", "") or ""),
            "bands": list(self.band_names),
            "sha256": dict(sorted((hashes or {}).items())),
            "reference": self.reference_band,
            "mode": self.mode,
            "background": self.background,
            "box": int(self.box),
            "centre": self.centre,
            "lens_models": list(self.lens_models),
            "assumed_age_myr": float(self.age),
            "n_lens_draws": int(self.n_draws),
            "seed": int(self.seed),
            "properties": self.properties is not None,
            "sed": None if self.sed is None else {**self.sed.record(), "key": self.sed.key},
            **({"sed_by_clump": own} if own else {}),
            "cosmology": describe(self.cosmology),
            "cautions": [str(each) for each in getattr(self.field, "cautions", ())],
        }
