"""The clump table: what is selected here is selected everywhere."""

from __future__ import annotations

from typing import Any

import ipywidgets as ui
import numpy as np
from bokeh.models import (
    ColumnDataSource,
    DataTable,
    HTMLTemplateFormatter,
    LayoutDOM,
    ScientificFormatter,
    StringFormatter,
    TableColumn,
)

from sc_lab.population import STATUS
from sc_lab_widgets._panel import Panel
from sc_lab_widgets._theme import TABLE_STYLESHEET

__all__ = ["TablePanel"]

_HEADS = {
    "z": "z",
    "mu": "μ",
    "mass": "mass [M☉]",
    "age_onset": "age [Myr]",
    "r_eff": "R_eff [pc]",
    "sigma_mass": "Σ [M☉ pc⁻²]",
    "dynamical_age": "Π",
    "z_form": "z_form",
}
#: What spans decades is written with a power of ten in every row, so that rows compare at a glance.
_POWERS = ("mass", "sigma_mass")
#: Three significant digits, without a power of ten for the hundreds and thousands of an age or a magnification.
_DIGITS = (
    "<%= !Number.isFinite(value) ? '–' : Math.abs(value) < 999.5 ? value.toPrecision(3) "
    ": String(Number(value.toPrecision(3))) %>"
)
#: Widths [px] that hold the heads with the arrow of a sorted column.
_WIDTHS = {"mass": 88, "age_onset": 88, "r_eff": 88, "sigma_mass": 112, "z_form": 72}
_COLUMNS = tuple(_HEADS)
#: Rows sent at most: nobody scrolls further, and the filters are there.
_MOST = 5_000


class TablePanel(Panel):
    """The clumps as a table, sortable by any column.

    See `Panel` for the parameters.
    """

    title = "Clumps"
    settings = ("size_threshold",)

    def _make_view_controls(self) -> dict[str, Any]:
        options = ["candidates", "mass function", "globular clusters", "excluded", "selected", "all"]
        return {
            "show": ui.Dropdown(
                options=options,
                value="candidates",
                description="rows",
                style={"description_width": "7.5em"},
                layout={"width": "auto"},
            )
        }

    def _build(self) -> LayoutDOM:
        self.source = ColumnDataSource({name: [] for name in ("id", "field", "status", "limit", *_COLUMNS)})
        columns = [
            TableColumn(field=name, title=name, width=92, formatter=StringFormatter())
            for name in ("id", "field", "status")
        ]
        for name in _COLUMNS:
            form = (
                ScientificFormatter(precision=2, power_limit_low=0, power_limit_high=0, nan_format="–")
                if name in _POWERS
                else HTMLTemplateFormatter(template=_DIGITS)
            )
            width = _WIDTHS.get(name, 64)
            columns.append(TableColumn(field=name, title=_HEADS[name], width=width, formatter=form))
        before = [column.field for column in columns].index("r_eff")
        columns.insert(before, TableColumn(field="limit", title="limit", width=56, formatter=StringFormatter()))
        self.table = DataTable(
            source=self.source,
            columns=columns,
            width=700,
            sizing_mode="stretch_width",
            height=300,
            index_position=None,
            selectable=True,
            name="clump_table",
            stylesheets=[TABLE_STYLESHEET],
            reorderable=False,  # it needs jquery-ui, which is not there: bokeh warned of it on the console
            autosize_mode="none",
            scroll_to_selection=True,
        )
        self._rows = np.array([], dtype=int)
        self._following = False
        self.source.selected.on_change("indices", self._picked)
        return self.table

    def _wanted(self) -> np.ndarray:
        population = self.host.population
        show = self.controls.show.value
        if show == "selected":
            return self.host.selection
        if show == "all":
            return np.arange(population.n)
        flag = {
            "candidates": population.candidate,
            "mass function": population.in_cmf_sample,
            "globular clusters": population.gc_contaminant,
            "excluded": population.status == STATUS.index("excluded"),
        }[show]
        return np.flatnonzero(flag)

    def _refine(self) -> None:
        population = self.host.population
        rows = self._wanted()
        self._following = True
        try:
            state = (population.status, *(population.values(name) for name in _COLUMNS))
            old = getattr(self, "_state", None)
            same = old is not None and all(a is b for a, b in zip(old, state, strict=True))
            if not same or not np.array_equal(rows, self._rows):
                self._state, self._rows = state, rows[:_MOST]
                shown = self._rows
                data: dict[str, Any] = {name: population.values(name)[shown] for name in _COLUMNS}
                data["id"] = [population.ids[row] for row in shown]
                data["field"] = [population.fields[row] for row in shown]
                data["status"] = [STATUS[code] for code in population.status[shown]]
                data["limit"] = ["<" if limit else "" for limit in population.r_eff_is_limit[shown]]
                self.source.data = data
            indices = np.flatnonzero(np.isin(self._rows, self.host.selection)).tolist()
            if list(self.source.selected.indices) != indices:
                self.source.selected.indices = indices
        finally:
            self._following = False

    def _picked(self, _attr: str, _old: Any, new: Any) -> None:
        if not self._following:
            self.host.select(self._rows[[i for i in new if i < len(self._rows)]])

    @property
    def result(self) -> Any:
        """Rows of the catalogue in the table, shape (rows,)."""
        return self._rows

    def _call(self) -> str:
        flags = {
            "candidates": "population.candidate",
            "mass function": "population.in_cmf_sample",
            "globular clusters": "population.gc_contaminant",
            "excluded": "population.status == STATUS.index('excluded')",
            "all": "population.status >= 0",
        }
        show = self.controls.show.value
        if show == "selected":
            return f"[population.index[name] for name in {self.host.selected_ids!r}]"
        return f"np.flatnonzero({flags[show]})"
