"""The columns that the plots share: one static layer of all clumps, small layers of what a slider changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from bokeh.models import ColumnDataSource

from sc_lab.density_size import limit_arrow
from sc_lab.population import QUANTITIES

if TYPE_CHECKING:
    from sc_lab.population import Population

__all__ = ["IMAGE_ABOVE", "PLANE", "Sources", "magnitude_columns"]

#: From this many clumps on, the layer of all clumps is an image of counts: glyphs would set the frame rate.
IMAGE_ABOVE = 20_000
#: Candidates beyond which error bars and arrows are left out, for the same reason.
DETAIL_BELOW = 1_500
#: Length of the arrow of a size limit at a fixed magnitude, as a factor.
_SHORTER = 0.72
#: Quantities on the axes of the planes, with error bars.
PLANE = ("mass", "r_eff", "sigma_mass", "z_form")
#: What a limit on the radius makes of a quantity, as the hover text says it.
_LIMIT_MARKS = {"r_eff": "< ", "sigma_mass": "> ", "dynamical_age": "> "}
_HOVER = ("mass", "r_eff", "sigma_mass", "age_onset", "mu", "z_form", "dynamical_age")


def magnitude_columns(population: Population) -> dict[str, str]:
    """Return the magnitudes that the size-magnitude plane can show.

    Parameters
    ----------
    population : Population
        The population.

    Returns
    -------
    dict of str to str
        Axis labels by column, in the order in which they are preferred: absolute ones first, as figure 3 of
        Claeyssens et al. (2026) has. Only those that have a number.
    """
    from sc_lab.catalog import values

    labels = {
        "abs_mag_v": "absolute V [AB mag]",
        "abs_mag_f150w": "absolute F150W [AB mag]",
        "mag_f150w": "F150W [AB mag]",
    }
    others = [name for name in population.catalog.colnames if name.startswith("mag_") and name.count("_") == 1]
    labels |= {name: f"{name[4:].upper()} [AB mag]" for name in others}

    def make() -> dict[str, str]:
        catalog = population.catalog
        there = [name for name in labels if name in catalog.colnames]
        return {name: labels[name] for name in there if np.isfinite(values(catalog, name)).any()}

    found: dict[str, str] = population.store.get("magnitude columns", (), make)
    return found


class Sources:
    """The bokeh data sources of one document.

    Attributes
    ----------
    base : ColumnDataSource
        Every clump (or none in image mode), with the numbers that a hover shows; sent once.
    candidates, limits, globulars, excluded, selected : ColumnDataSource
        Rows in that state, with their coordinates in every plane.
    wanted_magnitude : str
        Column of the size-magnitude plane; empty for the first of `magnitude_columns`.
    """

    def __init__(self) -> None:
        self.base = ColumnDataSource({"id": []}, name="clumps")
        self.candidates = ColumnDataSource({}, name="candidates")
        self.limits = ColumnDataSource({}, name="size limits")
        self.globulars = ColumnDataSource({}, name="globular clusters")
        self.excluded = ColumnDataSource({}, name="excluded")
        self.selected = ColumnDataSource({}, name="selected")
        self.wanted_magnitude = ""
        self._seen: dict[str, tuple[Any, ...]] = {}
        self.field_names: list[str] = []
        self.detail = True
        self.planes: dict[str, np.ndarray] = {}

    def _new(self, name: str, *parts: Any) -> bool:
        """Return whether any of the products behind a source changed since it was last filled."""
        old = self._seen.get(name)
        if old is not None and len(old) == len(parts) and all(a is b for a, b in zip(old, parts, strict=True)):
            return False
        self._seen[name] = parts
        return True

    def _planes(self, population: Population) -> dict[str, np.ndarray]:
        """Return the coordinates of every clump in every plane."""
        columns = {name: population.values(name) for name in (*PLANE, "z", "age_onset", "mu", "dynamical_age")}
        gc = population.gc
        columns["x"], columns["y"] = gc.x, gc.y
        columns["magnitude"] = self._magnitude(population)
        return columns

    def magnitude_column(self, population: Population) -> tuple[str, str]:
        """Return the magnitude column of the size-magnitude plane and its axis label.

        Parameters
        ----------
        population : Population
            The population.

        Returns
        -------
        name, label : str
            Empty strings when the catalogue has no magnitude.
        """
        found = magnitude_columns(population)
        name = self.wanted_magnitude if self.wanted_magnitude in found else next(iter(found), "")
        return name, found.get(name, "")

    def _magnitude(self, population: Population) -> np.ndarray:
        from sc_lab.catalog import values

        name, _ = self.magnitude_column(population)
        if name == "abs_mag_v":
            # That of the lens model.
            return population.values(name)
        return values(population.catalog, name) if name else np.full(population.n, np.nan)

    def _magnitude_error(self, population: Population, rows: np.ndarray) -> np.ndarray:
        from sc_lab.catalog import values

        name, _ = self.magnitude_column(population)
        error = values(population.catalog, f"{name}_err")[rows] if name else np.full(len(rows), np.nan)
        return np.where(np.isfinite(error), error, 0.0)

    def _field_codes(self, population: Population) -> np.ndarray:
        if not self.field_names:
            self.field_names = list(dict.fromkeys(population.fields))
        codes = {name: code for code, name in enumerate(self.field_names)}
        return np.array([codes[name] for name in population.fields], dtype=np.uint8)

    def update(self, population: Population, selection: np.ndarray) -> set[str]:
        """Send what changed and nothing else.

        Parameters
        ----------
        population : Population
            The population to show.
        selection : ndarray of int
            Rows selected.

        Returns
        -------
        set of str
            Names of the sources that were filled anew.
        """
        changed = set()
        static = [population.values(name) for name in (*PLANE, "age_onset", "mu", "dynamical_age")]
        chosen = population.settings
        magnitude, _ = self.magnitude_column(population)
        key = (magnitude, chosen.lens_model, chosen.within, chosen.hubble, chosen.omega_m, chosen.omega_de)
        planes = population.store.get("planes", key, lambda: self._planes(population))
        self.planes = planes
        static.append(planes["magnitude"])
        if self._new("base", *static):
            self._fill_base(population, planes)
            changed.add("base")
        if self._new("candidates", population.candidate, population.in_cmf_sample, *static):
            self._fill_candidates(population, planes)
            changed.add("candidates")
        if self._new("globulars", population.gc_contaminant, *static):
            self.globulars.data = self._rows(planes, np.flatnonzero(population.gc_contaminant))
            changed.add("globulars")
        if self._new("excluded", *static, *sorted(population.excluded)):
            rows = np.array(sorted(population.index[name] for name in population.excluded), dtype=int)
            self.excluded.data = self._rows(planes, rows)
            changed.add("excluded")
        if self._new("selected", selection, *static):
            self.selected.data = self._rows(planes, selection)
            changed.add("selected")
        return changed

    @staticmethod
    def _rows(planes: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
        # Single precision halves the message; a screen has 4 digits.
        return {name: values[rows].astype(np.float32) for name, values in planes.items()} | {
            "row": rows.astype(np.int32)
        }

    def _fill_base(self, population: Population, planes: dict[str, np.ndarray]) -> None:
        if population.n >= IMAGE_ABOVE:
            return
        data: dict[str, Any] = self._rows(planes, np.arange(population.n))
        data["id"] = population.ids
        data["field"] = population.fields
        for name in _HOVER:
            low, high = population.errors(name)
            data[f"{name}_lo"], data[f"{name}_hi"] = low.astype(np.float32), high.astype(np.float32)
        for name, mark in _LIMIT_MARKS.items():
            data[f"{name}_mark"] = [mark if limit else "" for limit in population.r_eff_is_limit]
        self.base.data = data

    def _fill_candidates(self, population: Population, planes: dict[str, np.ndarray]) -> None:
        rows = np.flatnonzero(population.candidate)
        data = self._rows(planes, rows)
        data["in_cmf"] = population.in_cmf_sample[rows].astype(np.uint8)
        data["field_code"] = population.store.get("field codes", (), lambda: self._field_codes(population))[rows]
        self.detail = len(rows) <= DETAIL_BELOW
        limit = population.r_eff_is_limit[rows]
        for name in PLANE:
            value = data[name]
            if self.detail:
                low, high = population.errors(name, rows)
                # A limit has an arrow, not an error bar.
                bar = limit if name in ("r_eff", "sigma_mass") else np.zeros(len(rows), dtype=bool)
                bottom = np.where(bar, value, value - low)
                # Below zero on a logarithmic axis there is nothing to draw to: stop two decades down.
                data[f"{name}_lo"] = np.where(bottom > 0, bottom, value * 1e-2).astype(np.float32)
                data[f"{name}_hi"] = np.where(bar, value, value + high).astype(np.float32)
            else:
                data[f"{name}_lo"] = data[f"{name}_hi"] = value
        error = self._magnitude_error(population, rows) if self.detail else np.zeros(len(rows))
        data["magnitude_lo"] = (data["magnitude"] - error).astype(np.float32)
        data["magnitude_hi"] = (data["magnitude"] + error).astype(np.float32)
        self.candidates.data = data
        shown = rows[limit & np.isfinite(planes["sigma_mass"][rows])] if self.detail else rows[:0]
        arrows = self._rows(planes, shown)
        end_r, end_sigma = limit_arrow(planes["r_eff"][shown], planes["sigma_mass"][shown])
        arrows["lower_r"] = (_SHORTER * planes["r_eff"][shown]).astype(np.float32)
        arrows["end_r"] = end_r.value.astype(np.float32)
        arrows["end_sigma"] = end_sigma.value.astype(np.float32)
        self.limits.data = arrows


def hover_text(name: str) -> tuple[str, str]:
    """Return one line of a hover text: label, and the value with its errors.

    Parameters
    ----------
    name : str
        A quantity with error columns in the base source.

    Returns
    -------
    label, template : str
        For a bokeh `HoverTool`; columns enter as text, never as HTML.
    """
    entry = QUANTITIES[name]
    mark = f"@{name}_mark" if name in _LIMIT_MARKS else ""
    value, error = ("%.2e", "%.1e") if name in ("mass", "sigma_mass") else ("%.3g", "%.2g")
    return entry.title, f"{mark}@{name}{{{value}}} +@{name}_hi{{{error}}} −@{name}_lo{{{error}}}"
