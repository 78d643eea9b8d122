"""The population: what one catalogue becomes under one set of settings."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.table import Table

from sc_lab import catalog as catalogs
from sc_lab.catalog.comparison import same_rows
from sc_lab.cmf import MassFunctionGrid
from sc_lab.colours import gc_membership
from sc_lab.cosmology import check_same, describe, make_cosmology
from sc_lab.density_size import dynamical_age, surface_density
from sc_lab.errors import CosmologyMismatchError, InputError, ScLabWarning
from sc_lab.formation import formation_redshift
from sc_lab.population.histograms import Histogram, bin_edges, count, scale
from sc_lab.population.quantities import QUANTITIES, quantity
from sc_lab.population.settings import Settings
from sc_lab.population.store import Store
from sc_lab.properties import joint_draws, lens_models, lens_scaling, reference_values, select_candidates

if TYPE_CHECKING:
    from astropy.cosmology import FLRW
    from astropy.table import QTable

    from sc_lab.cmf import MassFunctionFit
    from sc_lab.colours import GCMembership
    from sc_lab.properties import Draws, LensScaling, ReferenceValues
    from sc_lab.units import FloatArray

__all__ = ["STATUS", "Population", "analyse"]

BoolArray = npt.NDArray[np.bool_]
T = TypeVar("T")

#: What a clump counts as; its code is the index. Excluded beats globular cluster beats the rest.
STATUS = ("clump", "candidate", "mass function", "globular cluster", "excluded")
_CLUMP, _CANDIDATE, _IN_CMF, _GC, _EXCLUDED = range(5)

#: Quantities whose error bars come from the joint draws.
_DRAWN = ("mass", "r_eff", "age_onset", "mu", "sfr", "sigma_mass", "sigma_sfr", "dynamical_age", "z_form")
#: What the draws depend on, and what their error bars depend on.
_DRAWS_SETTINGS = ("lens_model", "n_populations", "seed")
_BARS_SETTINGS = ("lens_model", "within", "n_populations", "seed", "hubble", "omega_m", "omega_de")
_PC2_PER_KPC2 = 1e6
#: Quantities that another star-formation history changes, and what a column of one looks like.
_OF_HISTORY = ("mass", "age_onset", "sfr", "abs_mag_v", "sigma_mass", "sigma_sfr", "dynamical_age", "z_form")
_HISTORY = re.compile(r"mass_(tau[0-9]+(?:p[0-9]+)?)")
#: Decades that a histogram reaches down from the largest value.
_REACH = 8.0
#: Relative width of draws below which only round-off makes them differ.
_ROUNDING = 1e-12


class Population:
    """Every product of the population analysis, computed when asked for and kept.

    Made by `analyse`; `replace` gives the population of changed settings, which shares all
    products that do not depend on what changed.

    Attributes
    ----------
    catalog : QTable
        The validated catalogue, one row a clump; never changed.
    settings : Settings
        The settings.
    excluded : dict
        Reason by identifier of the clumps left out by hand.
    kept : tuple of str
        Identifiers whose globular-cluster flag is overridden.
    notes : dict
        Text by identifier.
    """

    def __init__(
        self,
        catalog: QTable,
        settings: Settings,
        *,
        excluded: Mapping[str, str],
        kept: Iterable[str],
        notes: Mapping[str, str],
        store: Store,
        given: Any = None,
    ) -> None:
        self.catalog = catalog
        #: The table that `analyse` was given, before it was validated.
        self.given = catalog if given is None else given
        self.settings = settings
        self.excluded = dict(excluded)
        self.kept = tuple(sorted(kept))
        self.notes = dict(notes)
        self.store = store

    # ---- derivation ------------------------------------------------------------------
    def replace(
        self,
        *,
        excluded: Mapping[str, str] | Iterable[str] | None = None,
        kept: Iterable[str] | None = None,
        notes: Mapping[str, str] | None = None,
        catalog: QTable | None = None,
        **settings: Any,
    ) -> Population:
        """Return the population under changed settings, sharing what did not change.

        Parameters
        ----------
        excluded, kept, notes : mapping or iterable of str, optional
            As for `analyse`; None leaves them as they are.
        catalog : QTable, optional
            Another state of the same list, for instance with a clump more: draws and error bars of
            rows that are the same in both are taken over. A validated table, as
            `sc_lab.session.Session.current_catalog` is one.
        **settings : Any
            Settings to change, by name.

        Returns
        -------
        Population
            A new population; this one stays valid.

        Raises
        ------
        InputError
            If an identifier or a setting is unknown, or a value impossible.
        """
        if catalog is not None and catalog is not self.catalog and catalog is not self.given:
            return self._over(catalog).replace(excluded=excluded, kept=kept, notes=notes, **settings)
        changed = self.settings.replace(**settings) if settings else self.settings
        if changed.lens_model not in self.lens_models:
            known = ", ".join(map(repr, self.lens_models))
            msg = f"the catalogue has no lens model {changed.lens_model!r}; it has {known} ('' is the reference model)"
            raise InputError(msg)
        return Population(
            self.catalog,
            changed,
            excluded=self.excluded if excluded is None else _reasons(excluded, self.index),
            kept=self.kept if kept is None else _known(kept, self.index, "kept"),
            notes=self.notes if notes is None else _texts(notes, self.index, "notes"),
            store=self.store,
            given=self.given,
        )

    def _over(self, catalog: QTable) -> Population:
        """Return the population of another state of the list, with what its rows have in common with this one.

        Reasons, marks and notes of clumps that it does not have stay behind.
        """
        store = Store()
        out = Population(catalog, self.settings, excluded={}, kept=(), notes={}, store=store)
        out.excluded = {name: why for name, why in self.excluded.items() if name in out.index}
        out.kept = tuple(name for name in self.kept if name in out.index)
        out.notes = {name: text for name, text in self.notes.items() if name in out.index}
        if self.settings.lens_model not in out.lens_models:
            return out
        rows = same_rows(self.catalog, catalog)
        old = np.flatnonzero(rows >= 0)
        draws = self.store.products("draws").get(self._draws_key)
        if draws is not None:
            store.put("draws", self._draws_key, out._drawn_again(draws, rows))
        for name in QUANTITIES:
            bars = self.store.products(f"errors {name}").get(self._bars_key)
            if bars is not None:
                store.put(f"errors {name}", self._bars_key, bars.taken(out.n, old, rows[old]))
        return out

    @property
    def _draws_key(self) -> tuple[Any, ...]:
        return tuple(getattr(self.settings, name) for name in _DRAWS_SETTINGS)

    @property
    def _bars_key(self) -> tuple[Any, ...]:
        return tuple(getattr(self.settings, name) for name in _BARS_SETTINGS)

    def _get(self, stage: str, names: tuple[str, ...], make: Callable[[], T], *extra: Hashable) -> T:
        key = (*(getattr(self.settings, name) for name in names), *extra)
        return self.store.get(stage, key, make)

    # ---- what the catalogue says -------------------------------------------------------
    @property
    def n(self) -> int:
        """Number of clumps in the catalogue."""
        return len(self.catalog)

    @property
    def ids(self) -> list[str]:
        """Identifiers, one a clump."""
        return self.store.get("ids", (), lambda: catalogs.texts(self.catalog, "id"))

    @property
    def index(self) -> dict[str, int]:
        """Row by identifier."""
        return self.store.get("index", (), lambda: {name: row for row, name in enumerate(self.ids)})

    @property
    def fields(self) -> list[str]:
        """Name of the lensing field, one a clump; empty where not given."""
        return self.store.get("fields", (), lambda: catalogs.texts(self.catalog, "field"))

    @property
    def lens_models(self) -> tuple[str, ...]:
        """Names of the lens models that the catalogue carries; the first, empty, is its reference."""
        return lens_models(self.catalog)

    @cached_property
    def cosmology(self) -> FLRW:
        """The cosmology of the settings."""
        return make_cosmology(self.settings.hubble, self.settings.omega_m, self.settings.omega_de)

    @property
    def cautions(self) -> tuple[str, ...]:
        """What the user should know although every product stands: one sentence each."""
        recorded = self.catalog.meta.get("sc_lab", {})
        try:
            check_same(
                recorded.get("cosmology", {}) if isinstance(recorded, Mapping) else {},
                describe(self.cosmology),
                name_a="the catalogue",
                name_b="this analysis",
            )
        except CosmologyMismatchError as error:
            return (f"{error}, or set hubble, omega_m and omega_de to the catalogue's",)
        return ()

    # ---- point values and error bars ---------------------------------------------------
    @property
    def _reference(self) -> ReferenceValues:
        return self._get(
            "reference", ("lens_model",), lambda: reference_values(self.catalog, lens_model=self.settings.lens_model)
        )

    @property
    def r_eff_is_limit(self) -> BoolArray:
        """Where the effective radius is an upper limit, and so every surface density a lower one."""
        return self._reference.r_eff_is_limit

    def values(self, name: str, *, history: str = "") -> FloatArray:
        """Return a quantity of every clump under these settings.

        Parameters
        ----------
        name : str
            A key of `sc_lab.population.QUANTITIES`.
        history : str
            One of `histories`; the empty one is the reference. What does not depend on it stays the same.

        Returns
        -------
        ndarray
            Shape (n,), linear, in the unit of the registry; NaN where not measured.

        Raises
        ------
        InputError
            If there is no such quantity or history.
        """
        quantity(name)
        if history:
            return self._values_of_history(name, history)
        settings = self.settings
        ref = self._reference
        out: FloatArray
        if name in ("mass", "r_eff", "mu", "age_onset", "sfr"):
            out = getattr(ref, "age" if name == "age_onset" else name)
        elif name == "z":
            out = self.store.get("values z", (), lambda: catalogs.values(self.catalog, "z"))
        elif name == "abs_mag_v":
            out = self._get(
                "values abs_mag_v", ("lens_model",), lambda: catalogs.values(self.catalog, name) + self._fainter
            )
        elif name == "sigma_mass":
            out = self._get(
                "values sigma_mass", ("lens_model", "within"), lambda: _sigma(ref.mass, ref.r_eff, settings.within)
            )
        elif name == "sigma_sfr":
            out = self._get(
                "values sigma_sfr",
                ("lens_model", "within"),
                lambda: _sigma(ref.sfr, ref.r_eff, settings.within) * _PC2_PER_KPC2,
            )
        elif name == "dynamical_age":
            out = self._get(
                "values dynamical_age", ("lens_model",), lambda: dynamical_age(ref.mass, ref.r_eff, ref.age)
            )
        else:
            out = self._get(
                "values z_form",
                ("hubble", "omega_m", "omega_de", "lens_model"),
                lambda: formation_redshift(self.values("z"), ref.age, cosmology=self.cosmology),
            )
        return out

    def _values_of_history(self, name: str, history: str) -> FloatArray:
        """Return a quantity under a second star-formation history."""
        if history not in self.histories:
            known = ", ".join(map(repr, self.histories))
            msg = f"the catalogue has no star-formation history {history!r}; it has {known} ('' is the reference)"
            raise InputError(msg)
        if name not in _OF_HISTORY:
            return self.values(name)

        def make() -> FloatArray:
            settings, flux, r_eff = self.settings, self._scaling.flux, self._reference.r_eff

            def said(base: str) -> FloatArray:
                return catalogs.values(self.catalog, f"{base}_{history}")

            if name in ("mass", "sfr"):
                return said(name) * flux
            if name == "age_onset":
                return said(name)
            if name == "abs_mag_v":
                return said(name) + self._fainter
            if name == "sigma_mass":
                return _sigma(said("mass") * flux, r_eff, settings.within)
            if name == "sigma_sfr":
                return _sigma(said("sfr") * flux, r_eff, settings.within) * _PC2_PER_KPC2
            if name == "dynamical_age":
                return np.asarray(dynamical_age(said("mass") * flux, r_eff, said("age_onset")), dtype=float)
            return formation_redshift(self.values("z"), said("age_onset"), cosmology=self.cosmology)

        names = ("lens_model", "within", "hubble", "omega_m", "omega_de")
        return self._get(f"values {name} {history}", names, make)

    @property
    def _scaling(self) -> LensScaling:
        return self._get("scaling", ("lens_model",), lambda: lens_scaling(self.catalog, self.settings.lens_model))

    @property
    def _fainter(self) -> FloatArray:
        """What the lens model adds to absolute magnitudes [mag]: more magnification, less light of its own."""
        return np.asarray(-2.5 * np.log10(self._scaling.flux))

    def scaled(self, name: str, *, history: str = "") -> FloatArray:
        """Return a quantity as plots show it: its decimal logarithm where the registry says so.

        Parameters
        ----------
        name : str
            A key of `sc_lab.population.QUANTITIES`.
        history : str
            As for `values`.

        Returns
        -------
        ndarray
            Shape (n,); NaN where not measured or not positive.
        """
        values = self.values(name, history=history)
        stage = f"scaled {name} {history}".rstrip()
        return self.store.get(stage, _Identity(values), lambda: scale(values, log=quantity(name).log))

    @property
    def draws(self) -> Draws:
        """Joint draws of mass, age, radius and magnification of every clump."""
        return self._get(
            "draws",
            _DRAWS_SETTINGS,
            self._drawn_again,
        )

    def _drawn_again(self, previous: Draws | None = None, rows: npt.NDArray[np.intp] | None = None) -> Draws:
        """Return the draws, those of rows that an earlier state has copied from it."""
        return joint_draws(
            self.catalog,
            n_draws=self.settings.n_populations,
            lens_model=self.settings.lens_model,
            rng=self.settings.seed,
            previous=previous,
            rows=rows,
        )

    def drawn(self, name: str, rows: Any = slice(None)) -> FloatArray:
        """Return the joint draws of a quantity.

        Parameters
        ----------
        name : str
            A key of `sc_lab.population.QUANTITIES` that has draws.
        rows : index, optional
            Rows wanted; all by default.

        Returns
        -------
        ndarray
            Shape (n_populations, rows); the same draw of one clump belongs together in all quantities.

        Raises
        ------
        InputError
            If the quantity is not drawn.
        """
        if name not in _DRAWN:
            msg = f"{name!r} has no draws; those that have are {', '.join(_DRAWN)}"
            raise InputError(msg)
        draws = self.draws
        if name in ("mass", "r_eff", "mu"):
            return np.asarray(getattr(draws, name)[:, rows], dtype=float)
        if name == "age_onset":
            return np.asarray(draws.age[:, rows], dtype=float)
        if name in ("sfr", "sigma_sfr"):
            if draws.sfr is None:
                return np.full(draws.mass[:, rows].shape, np.nan)
            sfr = np.asarray(draws.sfr[:, rows], dtype=float)
            if name == "sfr":
                return sfr
            return _sigma(sfr, draws.r_eff[:, rows], self.settings.within) * _PC2_PER_KPC2
        if name == "sigma_mass":
            return _sigma(draws.mass[:, rows], draws.r_eff[:, rows], self.settings.within)
        if name == "dynamical_age":
            pi = dynamical_age(draws.mass[:, rows], draws.r_eff[:, rows], draws.age[:, rows])
            return np.asarray(pi, dtype=float)
        return formation_redshift(self.values("z")[rows], draws.age[:, rows], cosmology=self.cosmology)

    def errors(self, name: str, rows: Any = slice(None)) -> tuple[FloatArray, FloatArray]:
        """Return the asymmetric errors of a quantity from the 16 and 84 % of its joint draws.

        Only rows not asked for before are computed, so that a slider pays for new candidates alone.

        Parameters
        ----------
        name : str
            A key of `sc_lab.population.QUANTITIES`.
        rows : index, optional
            Rows wanted; all by default.

        Returns
        -------
        err_lo, err_hi : ndarray
            Shape of the rows, both positive or zero; NaN where there is no error.

        Raises
        ------
        InputError
            If there is no such quantity.
        """
        quantity(name)
        if name not in _DRAWN:
            # Redshifts are taken as exact, as the paper does.
            err = np.full(self.n, np.nan)
            if name == "abs_mag_v":
                err = np.where(np.isnan(self.values(name)), np.nan, catalogs.values(self.catalog, "abs_mag_v_err"))
            return err[rows], err[rows]
        bars: _Bars = self._get(
            f"errors {name}",
            _BARS_SETTINGS,
            lambda: _Bars(self.n),
        )
        wanted = np.arange(self.n)[rows]
        new = np.unique(wanted[~bars.known[wanted]])
        # Blocks keep the draws of one block in the cache of the processor, and memory flat for 50 000 clumps.
        for block in np.array_split(new, max(1, len(new) // 2048)) if len(new) else ():
            q16, q84 = _interval(self.drawn(name, block))
            value = self.values(name)[block]
            # Draws that do not scatter, to one side or at all, are a value without errors, not with errors of zero.
            q16[q84 - q16 <= _ROUNDING * np.abs(q84)] = np.nan
            for bar, side in ((bars.low, value - q16), (bars.high, q84 - value)):
                none = np.isnan(q16) | (np.abs(side) <= _ROUNDING * np.abs(value))
                bar[block] = np.where(none, np.nan, np.maximum(side, 0.0))
            bars.known[block] = True
        return bars.low[wanted], bars.high[wanted]

    # ---- selection -----------------------------------------------------------------------
    @property
    def gc(self) -> GCMembership:
        """Position, membership and its probability in the globular-cluster colour box."""

        def make() -> GCMembership:
            bands = ("f150w", "f200w", "f356w")
            mags = [catalogs.values(self.catalog, f"mag_{band}") for band in bands]
            errs = {f"err_{band}": catalogs.values(self.catalog, f"mag_{band}_err") for band in bands}
            return gc_membership(*mags, **errs, vertices=self.settings.gc_box)

        return self._get("gc", ("gc_box",), make)

    @property
    def has_gc_colours(self) -> bool:
        """Whether any clump has the three bands of the globular-cluster colour box."""
        return bool(np.isfinite(self.gc.x + self.gc.y).any())

    @property
    def gc_contaminant(self) -> BoolArray:
        """Clumps inside the colour box, but for those kept by hand."""

        def make() -> BoolArray:
            inside = self.gc.inside.copy()
            inside[[self.index[name] for name in self.kept]] = False
            return inside

        return self._get("gc_contaminant", ("gc_box",), make, self.kept)

    @property
    def removed(self) -> BoolArray:
        """Clumps out of the sample: excluded by hand, or globular clusters while that cut is on."""

        def make() -> BoolArray:
            out = self.gc_contaminant.copy() if self.settings.gc_cut else np.zeros(self.n, dtype=bool)
            out[[self.index[name] for name in self.excluded]] = True
            return out

        return self._get("removed", ("gc_box", "gc_cut"), make, self.kept, tuple(sorted(self.excluded)))

    @property
    def candidate(self) -> BoolArray:
        """Star-cluster candidates of the sample (Claeyssens et al. 2026, sections 3.2 and 5.1)."""

        def make() -> BoolArray:
            ref = self._reference
            small = select_candidates(
                ref.r_eff, threshold=self.settings.size_threshold * u.pc, is_limit=ref.r_eff_is_limit
            )
            out: BoolArray = small & ~self.removed
            return out

        return self._get("candidate", ("lens_model", "size_threshold"), make, _Identity(self.removed))

    @property
    def in_cmf_sample(self) -> BoolArray:
        """Candidates that the mass function is fitted to (Claeyssens et al. 2026, section 4.4)."""

        def make() -> BoolArray:
            out = self.candidate & self._passes(self.values("mass"), self.values("age_onset"))
            if self.settings.drop_most_massive and out.any():
                rows = np.flatnonzero(out)
                out[rows[np.argmax(self.values("mass")[rows])]] = False
            return out

        return self._get(
            "in_cmf_sample", ("age_max", "mass_min", "mass_max", "drop_most_massive"), make, _Identity(self.candidate)
        )

    def _passes(self, mass: FloatArray, age: FloatArray) -> BoolArray:
        settings = self.settings
        top = np.inf if settings.mass_max is None else settings.mass_max
        with np.errstate(invalid="ignore"):
            out: BoolArray = (age < settings.age_max) & (mass > settings.mass_min) & (mass < top)
        return out

    @property
    def status(self) -> npt.NDArray[np.uint8]:
        """What each clump counts as: an index into `STATUS`."""

        def make() -> npt.NDArray[np.uint8]:
            out = np.zeros(self.n, dtype=np.uint8)
            out[self.candidate] = _CANDIDATE
            out[self.in_cmf_sample] = _IN_CMF
            out[self.removed] = _GC
            out[[self.index[name] for name in self.excluded]] = _EXCLUDED
            return out

        return self._get("status", (), make, _Identity(self.in_cmf_sample))

    # ---- mass function -------------------------------------------------------------------
    def _grid(self, model: str) -> MassFunctionGrid:
        return self._get(
            f"grid {model}",
            ("mass_min", "mass_max"),
            lambda: MassFunctionGrid(model, m_min=self.settings.mass_min, m_max=self.settings.mass_max),
        )

    @property
    def sample_masses(self) -> FloatArray:
        """Masses of the mass-function sample [Msun], in catalogue order."""
        return self.values("mass")[self.in_cmf_sample]

    def mass_function(self, model: str) -> MassFunctionFit:
        """Fit the mass function of the sample by exact grid.

        Parameters
        ----------
        model : {"power_law", "schechter"}
            The model.

        Returns
        -------
        MassFunctionFit
            The posterior, as `sc_lab.cmf.fit_mass_function` gives it for the sample's masses.

        Raises
        ------
        InputError
            If the sample has fewer than two objects.
        """

        def make() -> MassFunctionFit:
            mass = self.sample_masses
            if len(mass) < 2:
                msg = (
                    f"the mass-function sample has {len(mass)} object(s); a fit needs at least 2: "
                    "raise size_threshold or age_max, or lower mass_min"
                )
                raise InputError(msg)
            return self._grid(model).fit(mass, rng=self.settings.seed)

        return self._get(f"fit {model}", ("mass_min", "mass_max", "seed"), make, _Identity(self.in_cmf_sample))

    def bootstrap(self, model: str) -> dict[str, FloatArray]:
        """Return the posterior medians of every parameter in populations drawn from the errors.

        The selection is applied afresh in each population (Claeyssens et al. 2026, section 4.4).

        Parameters
        ----------
        model : {"power_law", "schechter"}
            The model.

        Returns
        -------
        dict of ndarray
            Shape (n_populations,) per parameter, and ``n``, the objects in each population;
            NaN where a population has fewer than two.
        """

        def make() -> dict[str, FloatArray]:
            n, sum_log, sum_mass = self._statistics()
            return {**self._grid(model).medians(n, sum_log, sum_mass), "n": n}

        names = ("mass_min", "mass_max", "size_threshold", "age_max", "drop_most_massive")
        draws = ("lens_model", "n_populations", "seed")
        return self._get(f"bootstrap {model}", (*names, *draws), make, _Identity(self.removed))

    def _statistics(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return N, the sum of ln(M) and the sum of M in each drawn population."""

        def make() -> tuple[FloatArray, FloatArray, FloatArray]:
            settings = self.settings
            extremes = self._extremes
            point = extremes.limit_without_number
            with np.errstate(invalid="ignore"):
                possible = ((extremes.r_eff < settings.size_threshold) | point) & ~self.removed
                possible &= (extremes.age < settings.age_max) & (extremes.mass > settings.mass_min)
            rows = np.flatnonzero(possible)
            draws = self.draws
            mass = draws.mass[:, rows]
            with np.errstate(invalid="ignore", divide="ignore"):
                chosen = self._passes(mass, draws.age[:, rows])
                chosen &= (draws.r_eff[:, rows] < settings.size_threshold) | point[rows]
                if settings.drop_most_massive and len(rows):
                    top = np.argmax(np.where(chosen, mass, -np.inf), axis=1)
                    chosen[np.arange(len(mass)), top] = False
                weight = chosen.astype(float)
                mass = np.where(chosen, mass, 1.0).astype(float)
            n = weight.sum(axis=1)
            return n, np.log(mass).sum(axis=1), np.einsum("ij,ij->i", weight, mass)

        names = ("mass_min", "mass_max", "size_threshold", "age_max", "drop_most_massive")
        draws = ("lens_model", "n_populations", "seed")
        return self._get("statistics", (*names, *draws), make, _Identity(self.removed))

    @property
    def _extremes(self) -> _Extremes:
        return self._get("extremes", ("lens_model", "n_populations", "seed"), lambda: _Extremes(self))

    # ---- summaries -----------------------------------------------------------------------
    def histogram(self, name: str, *, bins: int = 24, history: str = "") -> Histogram:
        """Count a quantity over clumps and candidates (Claeyssens et al. 2026, figure 5).

        Parameters
        ----------
        name : str
            A key of `sc_lab.population.QUANTITIES`.
        bins : int
            Number of equal bins over the values of the whole catalogue, those of its second histories among
            them. On a logarithmic axis they reach down 8 dex from the largest; what is below, such as the present
            rate of a burst long past, counts in the first bin.
        history : str
            One of `histories`; the empty one is the reference.

        Returns
        -------
        Histogram
            Edges and counts.

        Raises
        ------
        InputError
            If there is no such quantity or history.
        """
        every = [self.scaled(name)] + [
            self.scaled(name, history=each) for each in self.histories[1:] if name in _OF_HISTORY
        ]

        def make() -> FloatArray:
            values = np.concatenate(every)
            if quantity(name).log and np.isfinite(values).any():
                values = np.maximum(values, np.nanmax(values) - _REACH)
            return bin_edges(values, log=False, bins=bins)

        edges = self.store.get(f"edges {name}", (bins, *map(_Identity, every)), make)
        clumps = ~self.candidate & ~self.removed
        scaled = self.scaled(name, history=history)
        return count(quantity(name), scaled, edges, clumps=clumps, candidates=self.candidate, history=history)

    @property
    def histories(self) -> tuple[str, ...]:
        """Star-formation histories that the catalogue has values for: the reference, empty, then others by name.

        A second one, such as ``"tau10"`` with columns ``mass_tau10``, comes from SED fits (figure 5, dashed).
        """

        def make() -> tuple[str, ...]:
            found = (_HISTORY.fullmatch(name) for name in self.catalog.colnames)
            names = sorted({match[1] for match in found if match})
            # A column that was silenced stays, without a number in it.
            return ("", *(n for n in names if np.isfinite(catalogs.values(self.catalog, f"mass_{n}")).any()))

        histories: tuple[str, ...] = self.store.get("histories", (), make)
        return histories

    @property
    def counts(self) -> dict[str, int]:
        """Numbers that the status line and the papers quote."""
        candidate, ref = self.candidate, self._reference
        z, z_form = self.values("z"), self.values("z_form")
        with np.errstate(invalid="ignore"):
            early = candidate & (z_form > 4) & (z < 4)
        return {
            "clumps": self.n,
            "candidates": int(candidate.sum()),
            "candidate_limits": int((candidate & ref.r_eff_is_limit).sum()),
            "mass_function": int(self.in_cmf_sample.sum()),
            "globular_clusters": int(self.gc_contaminant.sum()),
            "excluded": len(self.excluded),
            "without_radius": int(np.isnan(ref.r_eff).sum()),
            "without_mass": int(np.isnan(ref.mass).sum()),
            "without_age": int(np.isnan(ref.age).sum()),
            # A catalogue without any magnification (published intrinsic values) has no map to lie outside of.
            "outside_lens_model": int(np.isnan(ref.mu).sum())
            if self.settings.lens_model or np.isfinite(ref.mu).any()
            else 0,
            "undefined_z_form": int((np.isnan(z_form) & np.isfinite(ref.age)).sum()),
            "formed_before_z4": int(early.sum()),
        }

    def columns(self) -> dict[str, Any]:
        """Return every computed column of the export, by its catalogue name.

        Returns
        -------
        dict
            Arrays of shape (n,): Quantities where there is a unit, flags as bool, texts as str.
        """
        # Under another lens model the catalogue's own columns would contradict the computed ones.
        out: dict[str, Any] = self._rescaled() if self.settings.lens_model else {}
        for name in ("sigma_mass", "dynamical_age", "z_form"):
            unit = u.Msun / u.pc**2 if name == "sigma_mass" else None
            low, high = self.errors(name)
            for suffix, values in (("", self.values(name)), ("_err_lo", low), ("_err_hi", high)):
                out[name + suffix] = values if unit is None else values * unit
            if name == "sigma_mass":
                out["sigma_mass_is_limit"] = self.r_eff_is_limit.copy()
        names = ("hubble", "omega_m", "omega_de", "lens_model", "n_populations", "seed")
        out["z_form_undefined"] = self._get("undefined", names, self._undefined)
        if self.has_gc_colours:
            out["gc_probability"] = self.gc.probability
        out["gc_contaminant"] = self.gc_contaminant
        out["candidate"] = self.candidate
        out["in_cmf_sample"] = self.in_cmf_sample
        out["excluded"] = np.array([name in self.excluded for name in self.ids])
        out["exclusion_reason"] = np.array([self.excluded.get(name, "") for name in self.ids], dtype=str)
        out["note"] = np.array([self.notes.get(name, "") for name in self.ids], dtype=str)
        return out

    def _rescaled(self) -> dict[str, Any]:
        """Return the lensed columns of the catalogue as another lens model has them.

        Their errors and draws stay what they are in every catalogue, those at fixed magnification: who
        reads the export as a catalogue adds the errors of the magnification, which stand beside them.
        """
        scaling, model, present = self._scaling, self.settings.lens_model, self.catalog.colnames
        out: dict[str, Any] = {}
        for name in ("mu", "mu_t"):
            for suffix in ("", "_err_lo", "_err_hi"):
                if {name + suffix, f"{name}_{model}{suffix}"} & set(present):
                    out[name + suffix] = catalogs.values(self.catalog, f"{name}_{model}{suffix}")
        if "r_eff_is_limit" in present:
            out["r_eff_is_limit"] = self.r_eff_is_limit
        factors = {"mass": scaling.flux, "sfr": scaling.flux, "r_eff": scaling.size}
        for name in present:
            base = re.sub(r"(_tau[0-9]+(p[0-9]+)?)?(_err_lo|_err_hi|_draws)?$", "", name)
            if base in factors:
                factor = factors[base]
                values = catalogs.values(self.catalog, name)
                out[name] = (
                    values * (factor if values.ndim == 1 else factor[:, None]) * catalogs.column(name).astropy_unit
                )
            elif catalogs.find_column(name) is not None and re.fullmatch(
                r"abs_mag_[a-z0-9]+(_tau[0-9p]+)?(_err)?", name
            ):
                shift = 0.0 * self._fainter if name.endswith("_err") else self._fainter
                out[name] = (catalogs.values(self.catalog, name) + shift) * u.mag
        return out

    def _undefined(self) -> FloatArray:
        """Return the fraction of age draws that exceed the age of the Universe, NaN without an age."""
        out = np.full(self.n, np.nan)
        for rows in np.array_split(np.arange(self.n), max(1, self.n // 2048)):
            ages = self.drawn("age_onset", rows)
            known = np.isfinite(ages).any(axis=0)
            lost = np.isnan(self.drawn("z_form", rows)) & np.isfinite(ages)
            out[rows[known]] = lost.mean(axis=0)[known]
        return out

    def describe(self, row: int) -> dict[str, str]:
        """Return one clump in words: every quantity with its errors.

        Parameters
        ----------
        row : int
            Row of the catalogue.

        Returns
        -------
        dict of str
            Text by label; plain text, to be escaped by whoever shows it as HTML.
        """
        where = np.array([row])
        out = {"id": self.ids[row], "status": STATUS[int(self.status[row])]}
        if self.fields[row]:
            out["field"] = self.fields[row]
        for name, entry in QUANTITIES.items():
            value = float(self.values(name)[row])
            if not np.isfinite(value):
                continue
            low, high = (float(bar[0]) for bar in self.errors(name, where))
            limit = ""
            if self.r_eff_is_limit[row]:
                limit = {"r_eff": "< ", "sigma_mass": "> ", "sigma_sfr": "> ", "dynamical_age": "> "}.get(name, "")
            text = limit + (format_value(value) if limit else format_value(value, low, high))
            out[entry.label] = f"{text} {entry.unit}".rstrip()
        if self.has_gc_colours and np.isfinite(self.gc.probability[row]):
            out["chance of lying in the colour box"] = f"{self.gc.probability[row]:.2f}"
        if self.ids[row] in self.excluded:
            out["excluded because"] = self.excluded[self.ids[row]] or "no reason given"
        if self.ids[row] in self.notes:
            out["note"] = self.notes[self.ids[row]]
        return out


def format_value(value: float, low: float = np.nan, high: float = np.nan) -> str:
    """Return a value with its asymmetric errors as short plain text.

    Parameters
    ----------
    value, low, high : float
        The value and its positive errors; NaN errors are left out.

    Returns
    -------
    str
        For instance ``(3.2 +1.1 −0.8)×10⁶``: one power of ten for all three.

    Examples
    --------
    >>> format_value(3.21e6, 8e5, 1.1e6)
    '(3.21 +1.10 −0.80)×10⁶'
    >>> format_value(12.34, 0.5, 0.6)
    '12.3 +0.6 −0.5'
    """
    size = abs(value)
    power = int(np.floor(np.log10(size))) if size > 0 else 0
    power = 0 if -3 < power < 4 else power
    scaled = value / 10.0**power
    digits = max(0, 2 - int(np.floor(np.log10(abs(scaled))))) if scaled else 2
    bars_known = [bar / 10.0**power for bar in (low, high) if np.isfinite(bar) and bar > 0]
    if bars_known:
        # An error smaller than the last digit shown would read as none.
        digits = min(max(digits, -int(np.floor(np.log10(min(bars_known))))), 4)
    text = f"{scaled:.{digits}f}"
    bars = ""
    if np.isfinite(low) and np.isfinite(high) and (low > 0 or high > 0):
        bars = f" +{high / 10.0**power:.{digits}f} −{low / 10.0**power:.{digits}f}"
    text = (text + bars).replace("-", "−")
    if not power:
        return text
    exponent = str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"({text})×10{exponent}" if bars else f"{text}×10{exponent}"


def analyse(
    catalog: Any,
    *,
    excluded: Mapping[str, str] | Iterable[str] = (),
    kept: Iterable[str] = (),
    notes: Mapping[str, str] | None = None,
    **settings: Any,
) -> Population:
    """Analyse a catalogue of clumps as a population of star clusters.

    Parameters
    ----------
    catalog : QTable
        A catalogue as `sc_lab.catalog.read_catalog` returns it; any table with the registry's
        columns is validated first.
    excluded : mapping of str to str, or iterable of str
        Identifiers left out by hand, with the reason where a mapping.
    kept : iterable of str
        Identifiers kept although they lie in the globular-cluster colour box.
    notes : mapping of str to str, optional
        Text by identifier, carried into exports.
    **settings : Any
        Any of `Settings`, by name; bare numbers in the house units or Quantities.

    Returns
    -------
    Population
        Its products are computed when first asked for.

    Raises
    ------
    InputError
        If an identifier or setting is unknown, or a value impossible.
    CatalogError
        If the table does not meet the column registry.

    Warns
    -----
    ScLabWarning
        If the catalogue records another cosmology than the settings give.

    Examples
    --------
    >>> from sc_lab.mock import make_population
    >>> population = analyse(make_population(n=300, rng=1).catalog, size_threshold=30)
    >>> wider = population.replace(size_threshold=50)
    >>> bool(wider.candidate.sum() >= population.candidate.sum())
    True
    """
    # A list that is made from images begins without a clump, and an undo may lead back there.
    begun = isinstance(catalog, Table) and not len(catalog) and "id" in catalog.colnames
    table = catalog if begun else catalogs.validate(catalog)
    empty = Population(table, Settings(), excluded={}, kept=(), notes={}, store=Store(), given=catalog)
    population = empty.replace(excluded=excluded, kept=kept, notes=notes or {}, **settings)
    for caution in population.cautions:
        warnings.warn(caution, ScLabWarning, stacklevel=2)
    return population


def _known(ids: Iterable[str], index: Mapping[str, int], what: str) -> tuple[str, ...]:
    # A lone identifier is text too, and would fall apart into its letters.
    ids = (ids,) if isinstance(ids, str) else tuple(ids)
    unknown = [name for name in ids if name not in index]
    if unknown:
        shown = ", ".join(map(repr, unknown[:5])) + (" …" if len(unknown) > 5 else "")
        msg = f"{what} names {len(unknown)} identifier(s) that the catalogue does not have: {shown}"
        raise InputError(msg)
    return ids


def _texts(said: Mapping[str, str], index: Mapping[str, int], what: str) -> dict[str, str]:
    """Return texts by identifier, all known and all text."""
    if not isinstance(said, Mapping):
        msg = f"{what} is a {type(said).__name__}; give a mapping of identifier to text"
        raise InputError(msg)
    out = {name: said[name] for name in _known(said, index, what)}
    wrong = [name for name, text in out.items() if not isinstance(text, str)]
    if wrong:
        msg = f"{what} gives {out[wrong[0]]!r} for {wrong[0]!r}; give text, empty where there is nothing to say"
        raise InputError(msg)
    return out


def _reasons(excluded: Mapping[str, str] | Iterable[str], index: Mapping[str, int]) -> dict[str, str]:
    if isinstance(excluded, Mapping):
        return _texts(excluded, index, "excluded")
    return dict.fromkeys(_known(excluded, index, "excluded"), "")


def _sigma(amount: FloatArray, r_eff: FloatArray, within: str) -> FloatArray:
    """Return an amount per area; the same geometry serves mass and star-formation rate."""
    return np.asarray(surface_density(amount, r_eff, within=within).value, dtype=float)


def _interval(draws: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the 16 and 84 % of each column; columns with undefined draws use the defined ones.

    A partial sort of contiguous rows: `numpy.quantile` along the first axis takes ten times as long.
    """
    rows = np.ascontiguousarray(draws.T)
    out = np.full((2, len(rows)), np.nan)
    lost = np.isnan(rows)
    full = ~lost.any(axis=1)
    if full.any():
        position = np.array([0.16, 0.84]) * (rows.shape[1] - 1)
        below = np.floor(position).astype(int)
        above = np.minimum(below + 1, rows.shape[1] - 1)
        part = np.partition(rows[full], np.unique([*below, *above]), axis=1)
        weight = position - below
        out[:, full] = (part[:, below] * (1 - weight) + part[:, above] * weight).T
    some = ~full & ~lost.all(axis=1)
    if some.any():
        out[:, some] = np.nanquantile(rows[some], [0.16, 0.84], axis=1)
    return out[0], out[1]


class _Bars:
    """Error bars of one quantity, filled in as rows are asked for."""

    def __init__(self, n: int) -> None:
        self.low = np.full(n, np.nan)
        self.high = np.full(n, np.nan)
        self.known = np.zeros(n, dtype=bool)

    def taken(self, n: int, rows: npt.NDArray[np.intp], source: npt.NDArray[np.intp]) -> _Bars:
        """Return the bars of another state of the list whose ``rows`` are the ``source`` rows of this one."""
        out = _Bars(n)
        for name in ("low", "high", "known"):
            getattr(out, name)[rows] = getattr(self, name)[source]
        return out


class _Extremes:
    """The most favourable draw of every clump: clumps whose best draw fails need no further look."""

    def __init__(self, population: Population) -> None:
        draws = population.draws
        self.r_eff = np.fmin.reduce(draws.r_eff, axis=0)
        self.age = np.fmin.reduce(draws.age, axis=0)
        self.mass = np.fmax.reduce(draws.mass, axis=0)
        self.limit_without_number = population.r_eff_is_limit & np.isnan(population.values("r_eff"))


class _Identity:
    """A key that is equal only for the very same array, which it keeps alive."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and other.array is self.array

    def __hash__(self) -> int:
        return id(self.array)
