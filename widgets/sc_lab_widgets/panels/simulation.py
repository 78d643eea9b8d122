"""The simulation panel: a map of particles, its groups to click, and the plane in which they meet observed clusters."""

from __future__ import annotations

import html
import time
from contextlib import nullcontext
from os import PathLike
from typing import TYPE_CHECKING, Any

import astropy.units as u
import ipywidgets as ui
import numpy as np

from sc_lab.errors import InputError, ScLabError
from sc_lab.simulations import (
    MODES,
    TYPES,
    Snapshot,
    as_catalog,
    cluster_states,
    find_groups,
    measure_clusters,
    read_snapshot,
)
from sc_lab.simulations.maps import AXES, count_in_cells
from sc_lab_widgets._alone import Alone
from sc_lab_widgets._controls import LiveSlider
from sc_lab_widgets._panel import Controls
from sc_lab_widgets.panels.picker_controls import make_button
from sc_lab_widgets.panels.simulation_run import Runner
from sc_lab_widgets.panels.simulation_view import CELLS, SimulationView
from sc_lab_widgets.panels.simulation_words import code_of, group_table, summary

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from astropy.table import QTable
    from bokeh.models import LayoutDOM

    from sc_lab.simulations import Groups
    from sc_lab_widgets._pane import BokehPane, Key

__all__ = ["SimulationPanel"]

_OWN = "own choice"
_MODES = [
    ("SGP: stars and gas", "SGP"),
    ("SP: stars", "SP"),
    ("DMP-GS: dark matter, gas and stars attached", "DMP-GS"),
    ("SGDMP: all three", "SGDMP"),
    ("types chosen here", _OWN),
]
_TYPES = {"stars": "stars", "gas": "gas", "dm": "dark matter"}
_LINKED = [("gas", 0), ("dark matter", 1), ("stars", 4)]
#: Particles beyond which the groups are not found anew at every step of a drag, and never while the notebook waits.
_WHILE_DRAGGING, _AT_ONCE = 400_000, 3_000_000
#: With fewer particles on the map its cells are three times as wide.
_FEW = 60_000
#: Stars of the current group that are drawn.
_DOTS = 3000
_HELP = (
    ("click", "a group on the map, or a cluster in the plane"),
    ("[ and ]", "previous and next group, by the number of members"),
    ("G", "zoom to the current group"),
    ("+ and −", "zoom"),
    ("R", "show the whole box"),
    ("A", "next line of sight"),
    ("T", "next type of particles"),
    ("Escape", "no current group"),
    ("?", "this list"),
)


class SimulationPanel(Alone):
    """Groups of a snapshot on a map of its particles, linked with the plane of size and density.

    Parameters
    ----------
    source : Snapshot, path or None
        The particles; None makes a synthetic snapshot.
    observed : catalogue, path or Session, optional
        Observed clusters to show in the plane as well.
    **start : Any
        Start values of controls, by name.

    Attributes
    ----------
    controls : Controls
        ``mode``, ``primary`` (for types chosen here), ``b``, ``min_members``, ``axis`` and ``shown``.
    figures : dict of str to figure
        ``map`` and ``density_size``.
    buttons : dict of str to Button
        The buttons by name.
    groups : Groups
        Those of the last search.

    Notes
    -----
    The picture is counted by a compiled loop at every zoom, so that it is as sharp as the screen for millions of
    particles; `sc_lab.simulations.maps.count_in_cells` does the same with datashader where that is wanted.
    """

    title = "Simulation"
    label = "SC Lab simulation: map of particles, size and density"

    def __init__(self, source: Any = None, *, observed: Any = None, **start: Any) -> None:
        super().__init__()
        self.snapshot, self._origin = _opened(source)
        self._mine = isinstance(source, (str, PathLike))
        header = self.snapshot.header
        self._unit = header.a / header.h * header.length_cm / 3.0856775814913673e21
        self._box = header.box_size * self._unit
        there = [kind for kind in _TYPES if len(self.snapshot.particles[TYPES.index(kind)])]
        if "stars" not in there:
            msg = (
                f"{self.snapshot.name} has no stars (it has: {', '.join(there) or 'nothing'}), so there are no star "
                "clusters to show; give a snapshot with PartType4, or use find_groups and particle_map"
            )
            raise InputError(msg)
        self._there = there
        self.groups: Groups | None = None
        self._clusters: QTable | None = None
        self._states = np.empty(0, dtype=str)
        self._current = ""
        self._failed: ScLabError | None = None
        self._found_by: Hashable = None
        self._kept: tuple[str, np.ndarray] | None = None
        self._drawn: tuple[Any, ...] | None = None
        self.view = SimulationView()
        self.figures.update(self.view.figures)
        self.view.layer.take(None)
        self._show_observed(observed)
        self._runner = Runner(self._take, self._fail, self._say)
        self.controls = self._make_controls()
        self.buttons = self._make_buttons()
        self._numbers, self._status = ui.HTML(), ui.HTML()
        for name, value in start.items():
            getattr(self.controls, name).value = value
        self._enough_shown()
        self.view.whole = self._whole()
        self.view.show_extent(self.view.whole)
        self._connect()
        self._guarded(self._redraw)
        self._guarded(lambda: self._search(beside=self._number > _AT_ONCE))

    # ---- making ----------------------------------------------------------------------------
    def _make_controls(self) -> Controls:
        wide = {"description_width": "6.5em"}
        return Controls(
            mode=ui.Dropdown(
                options=_MODES, value="SGP", description="linked", tooltip="which particles are linked to groups",
                style=wide, layout={"width": "360px"},
            ),
            primary=ui.SelectMultiple(
                options=_LINKED, value=(4,), rows=3, description="types",
                tooltip="what is linked; the other types are attached", layout={"width": "210px"},
            ),
            b=LiveSlider(
                0.2, 0.05, 0.8, 0.02, label="linking b", log=True, format=".3f",
                hint="linking length over the mean separation", layout={"width": "330px"},
            ),
            min_members=LiveSlider(
                100.0, 10.0, 5000.0, 0.02, label="members >", log=True, format=".0f",
                hint="stars of a group, or its dark-matter particles where dark matter alone is linked",
                layout={"width": "350px"},
            ),
            axis=ui.Dropdown(
                options=list(AXES), value="z", description="seen along", tooltip="line of sight (A)", style=wide,
                layout={"width": "150px"},
            ),
            shown=ui.Dropdown(
                options=[(_TYPES[kind], kind) for kind in self._there], value=self._there[0], description="shown",
                tooltip="particles on the map (T)", style=wide, layout={"width": "200px"},
            ),
        )  # fmt: skip

    def _make_buttons(self) -> dict[str, ui.Button]:
        actions: dict[str, tuple[str, str, Callable[[], Any]]] = {
            "previous": ("◀", "previous group ([)", lambda: self.step(-1)),
            "next": ("▶", "next group (])", lambda: self.step(1)),
            "zoom": ("Zoom to group", "show the current group (G)", self.zoom_to_group),
            "reset": ("Whole box", "show everything (R)", self._reset),
            "help": ("Keys", "what clicks and keys do (?)", lambda: self.message.show_list(_HELP)),
        }
        return {name: make_button(*parts, self._guarded) for name, parts in actions.items()}

    def _connect(self) -> None:
        controls = self.controls
        controls.mode.observe(self._mode_changed, "value")
        controls.primary.observe(lambda _change: self._guarded(self._search), "value")
        for name in ("b", "min_members"):
            getattr(controls, name).on_change(
                lambda _value, final: self._guarded(self._search) if final or self._number <= _WHILE_DRAGGING else None
            )
        for name in ("axis", "shown"):
            getattr(controls, name).observe(lambda _change: self._guarded(self._seen_anew), "value")
        self.view.on_tap(lambda figure, row: self._guarded(lambda: self._tapped(figure, row)))
        self.view.on_zoom(lambda: None if self._pane is None else self._pane.once_applied(self._zoomed))

    def _whole(self) -> tuple[float, float, float, float]:
        if self._box > 0:
            return (0.0, self._box, 0.0, self._box)
        first, second = AXES[self.controls.axis.value]
        at = self._positions()
        low, high = at.min(axis=0), at.max(axis=0)
        half = 0.51 * max(float((high - low)[[first, second]].max()), 1e-9)
        x, y = float((low + high)[first] / 2), float((low + high)[second] / 2)
        return (x - half, x + half, y - half, y + half)

    @property
    def _number(self) -> int:
        return sum(self.snapshot.particles[kind].number for kind in self._choice()["primary"])

    # ---- what it gives ---------------------------------------------------------------------
    def _choice(self) -> dict[str, Any]:
        """Return the keywords of the search."""
        controls = self.controls
        mode = controls.mode.value
        if mode == _OWN:
            primary = tuple(sorted(controls.primary.value))
            secondary = tuple(kind for _, kind in _LINKED if kind not in primary)
            named: dict[str, Any] = {"mode": None, "primary": primary, "secondary": secondary}
        else:
            named = {"mode": mode, "primary": MODES[mode][0], "secondary": MODES[mode][1]}
        fewest = round(controls.min_members.value)
        by_dm = named["primary"] == (1,)
        return named | {
            "b": round(controls.b.value, 4), "min_stars": 100 if by_dm else fewest, "min_dm": fewest if by_dm else 300,
        }  # fmt: skip

    @property
    def result(self) -> QTable:
        """What the call that `code` prints gives: the catalogue of clusters; waits for a search under way.

        Raises
        ------
        InputError
            If the last search could not be made.
        """
        self._runner.wait()
        if self._failed is None and self._found_by != tuple(self._choice().items()):
            # A search that was stopped, or that a drag left out.
            self._search(beside=False)
        if self._failed is not None:
            raise self._failed
        if self._clusters is None:
            msg = "no groups were found yet; change a control to begin a search"
            raise InputError(msg)
        return self._clusters

    @property
    def catalog(self) -> QTable:
        """The clusters in the columns of observed ones, for `Workbench` and `analyse`."""
        return as_catalog(self.result)

    @property
    def current(self) -> Any:
        """The row of the current group in `result`; None without one."""
        row = self._row(self._current)
        return None if row is None or self._clusters is None else self._clusters[row]

    def code(self) -> str:
        """Return the plain-Python text that gives `result` without any widget.

        Returns
        -------
        str
            Runnable text; its last line assigns ``result``.
        """
        return code_of(self._origin, self._choice())

    # ---- searching ---------------------------------------------------------------------------
    def _search(self, *, beside: bool = True) -> None:
        choice = self._choice()
        self._failed = None
        if not choice["primary"]:
            msg = "no type is chosen; choose at least one of gas, dark matter and stars to be linked"
            self._fail(InputError(msg))
            return
        snapshot = self.snapshot

        def work(*, progress: Callable[[int, int], None], cancel: Any) -> tuple[Groups, QTable, float]:
            begun = time.perf_counter()
            # Half of the bar for the groups, half for their energies.
            groups = find_groups(
                snapshot, choice["mode"], primary=None if choice["mode"] else choice["primary"],
                secondary=None if choice["mode"] else choice["secondary"], b=choice["b"],
                progress=lambda done, total: progress(done, 2 * total), cancel=cancel,
            )  # fmt: skip
            least = {"min_stars": choice["min_stars"], "min_dm": choice["min_dm"]}
            clusters = measure_clusters(
                snapshot, groups, **least, progress=lambda done, total: progress(total + done, 2 * total), cancel=cancel
            )
            return groups, clusters, time.perf_counter() - begun

        try:
            self._runner.ask(tuple(choice.items()), work, beside=beside)
        except ScLabError as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """Say why a search could not be made; the groups of the last one stay on the map."""
        self._failed = error if isinstance(error, ScLabError) else None
        self.message.report(error)
        self._say()

    def _take(self, key: Hashable, found: tuple[Groups, QTable, float]) -> None:
        """Show what a search has found; the current group stays where another lies in its place."""
        before = self.current
        self.groups, self._clusters, seconds = found
        self._found_by = key
        self._states = cluster_states(self._clusters)
        self._current = "" if before is None else self._nearest_to(before)
        with self._holding():
            if len(self._clusters):
                self.view.layer.take(as_catalog(self._clusters))
            else:
                self.view.layer.take(None)
            self.view.layer.fill()
            self.view.frame_plane()
            self._show_groups()
            self._show_current()
            if self.message.text:
                self.message.show("")
        length = 1e3 * self.groups.linking_length * self._unit
        self._say(summary(self._states, len(self.groups), self._mode_words(), length, seconds))

    def _mode_words(self) -> str:
        choice = self._choice()
        if choice["mode"] is not None:
            return str(choice["mode"])
        return " and ".join(name for name, kind in _LINKED if kind in choice["primary"])

    def _nearest_to(self, before: Any) -> str:
        """Return the name of the group that lies where another one lay."""
        if self._clusters is None or not len(self._clusters):
            return ""
        axes = ("x", "y", "z_position")
        away = np.stack([self._clusters[name].to_value(u.kpc) - before[name].to_value(u.kpc) for name in axes], axis=1)
        if self._box > 0:
            away -= self._box * np.round(away / self._box)
        distance = np.sqrt((away**2).sum(axis=1))
        row = int(np.argmin(distance))
        return str(self._clusters["id"][row]) if distance[row] <= before["r_max"].to_value(u.kpc) else ""

    def _say(self, text: str = "") -> None:
        """Show the line on the search."""
        words = text or (
            "looking for groups…" if self._runner.running else "the groups shown are those of the last search"
        )
        self._status.value = f'<div role="status" style="line-height: 1.35">{html.escape(words)}</div>'

    # ---- clicks and keys ---------------------------------------------------------------------
    def _holding(self) -> Any:
        return nullcontext() if self._pane is None else self._pane.hold()

    def _guarded(self, action: Callable[[], Any]) -> Any:
        """Do something that a user asked for; what is refused is said in place."""
        try:
            with self._holding():
                return action()
        except ScLabError as error:
            self.message.report(error)
        return None

    def _row(self, name: str) -> int | None:
        if not name or self._clusters is None:
            return None
        rows = np.flatnonzero(np.asarray(self._clusters["id"]) == name)
        return int(rows[0]) if len(rows) else None

    def select(self, name: str) -> None:
        """Make a group the current one.

        Parameters
        ----------
        name : str
            Its ``id``; an empty name is none.

        Raises
        ------
        InputError
            If there is no such group.
        """
        if name and self._row(name) is None:
            known = [] if self._clusters is None else [str(each) for each in self._clusters["id"][:6]]
            msg = f"there is no group {name!r}; there are {', '.join(known) or 'none'}, …"
            raise InputError(msg)
        self._current = name
        with self._holding():
            self._show_current()

    def step(self, direction: int) -> None:
        """Make the next or previous group the current one.

        Parameters
        ----------
        direction : {1, -1}
            Which way.
        """
        if self._clusters is None or not len(self._clusters):
            return
        here = self._row(self._current)
        row = (0 if direction > 0 else -1) if here is None else here + direction
        self.select(str(self._clusters["id"][row % len(self._clusters)]))

    def _tapped(self, figure: str, row: int) -> None:
        if self._clusters is None:
            return
        if figure == "density_size" and row >= 0:
            # The plane has its own rows: those with a mass and a radius, named by field and group.
            name = str(self.view.layer.ids[row]).rpartition("/")[2]
            self.select(name)
            self._bring_into_view()
        elif row >= 0:
            self.select(str(self._clusters["id"][row]))
        else:
            self.select("")

    def _bring_into_view(self) -> None:
        """Move the map, at its present zoom, to a group that lies outside it."""
        at = self._place()
        x0, x1, y0, y1 = self.view.extent
        if at is None or (x0 <= at[0] <= x1 and y0 <= at[1] <= y1):
            return
        half_x, half_y = (x1 - x0) / 2, (y1 - y0) / 2
        self.view.show_extent((at[0] - half_x, at[0] + half_x, at[1] - half_y, at[1] + half_y))
        self._redraw()

    def zoom_to_group(self) -> None:
        """Show the current group, three times as wide as it is.

        Raises
        ------
        InputError
            If there is no current group.
        """
        at, row = self._place(), self.current
        if at is None or row is None:
            msg = "there is no current group; click one, or press ]"
            raise InputError(msg)
        half = 3.0 * max(float(row["r_max"].to_value(u.kpc)), 1e-6)
        self.view.show_extent((at[0] - half, at[0] + half, at[1] - half, at[1] + half))
        self._redraw()

    def press(self, key: Key) -> bool:
        """Do what a key means.

        Parameters
        ----------
        key : Key
            The key.

        Returns
        -------
        bool
            Whether the key was taken.
        """
        actions: dict[str, Callable[[], Any]] = {
            "[": lambda: self.step(-1),
            "]": lambda: self.step(1),
            "g": self.zoom_to_group,
            "r": self._reset,
            "+": lambda: self._zoom(1 / 1.6),
            "=": lambda: self._zoom(1 / 1.6),
            "-": lambda: self._zoom(1.6),
            "a": lambda: _next(self.controls.axis),
            "t": lambda: _next(self.controls.shown),
            "escape": lambda: self.select(""),
            "?": lambda: self.message.show_list(_HELP),
        }
        action = actions.get(key.name.lower())
        if action is None:
            return False
        self._guarded(action)
        return True

    def _zoom(self, factor: float) -> None:
        self.view.zoom(factor)
        self._redraw()

    def _reset(self) -> None:
        self.view.show_extent(self.view.whole)
        self._redraw()

    def _zoomed(self) -> None:
        self._guarded(self._redraw)

    def _mode_changed(self, _change: Any) -> None:
        self._enough_shown()
        least = self.controls.min_members
        usual = 300.0 if self.controls.mode.value == "DMP-GS" else 100.0
        # Only the other usual number is replaced: one that the user has set stays.
        if round(least.value) in (100, 300) and least.value != usual:
            least.value = usual  # which searches
        else:
            self._guarded(self._search)

    def _enough_shown(self) -> None:
        self.controls.primary.layout.display = None if self.controls.mode.value == _OWN else "none"

    def _seen_anew(self) -> None:
        self.view.whole = self._whole()
        self.view.show_extent(self.view.whole)
        self._redraw()
        self._show_groups()
        self._show_current()

    # ---- bringing up to date -----------------------------------------------------------------
    def _positions(self) -> np.ndarray:
        """Return the places of the particles that are shown [kpc], kept in single precision."""
        kind = self.controls.shown.value
        if self._kept is None or self._kept[0] != kind:
            particles = self.snapshot.particles[TYPES.index(kind)]
            out = np.empty((len(particles), 3), dtype=np.float32)
            for rows, values in particles.chunks("Coordinates"):
                out[rows] = values * self._unit
            self._kept = (kind, out)
        return self._kept[1]

    def _redraw(self) -> None:
        """Count the picture anew, for what the map shows."""
        controls = self.controls
        extent = self.view.extent
        state = (controls.shown.value, controls.axis.value, extent)
        if self._drawn == state:
            return
        self._drawn = state
        image = count_in_cells(
            self._positions(), extent, (CELLS, CELLS), axis=controls.axis.value, box_size=self._box or None
        )
        if image.sum() < _FEW:
            # Lone particles in cells of a screen pixel would hardly be seen.
            image = image.reshape(CELLS // 3, 3, CELLS // 3, 3).sum(axis=(1, 3))
        first, second = AXES[controls.axis.value]
        self.view.label_axes(("xyz"[first], "xyz"[second]))
        words = f"{self.snapshot.name} · z = {self.snapshot.header.redshift:.4g} · {_TYPES[controls.shown.value]}"
        self.view.fill_image(image, extent, _plain(words))

    def _places(self) -> np.ndarray:
        """Return the centres of the clusters along the picture [kpc], inside the box."""
        table = self._clusters
        if table is None or not len(table):
            return np.empty((0, 2))
        names = [("x", "y", "z_position")[axis] for axis in AXES[self.controls.axis.value]]
        at = np.stack([table[name].to_value(u.kpc) for name in names], axis=1)
        return np.asarray(at % self._box if self._box > 0 else at)

    def _place(self) -> tuple[float, float] | None:
        row = self._row(self._current)
        if row is None:
            return None
        x, y = self._places()[row]
        return float(x), float(y)

    def _show_groups(self) -> None:
        table, at = self._clusters, self._places()
        if table is None or not len(table):
            empty: dict[str, list[str]] = {name: [] for name in ("id", "state", "mass", "sigma", "ratio")}
            self.view.fill_groups(np.empty(0), np.empty(0), np.empty(0), empty)
            return
        told = {
            "id": [str(each) for each in table["id"]],
            "state": self._states.tolist(),
            "mass": [f"{each:.3g}" for each in table["mass"].value],
            "sigma": [f"{each:.3g}" for each in table["sigma_mass"].value],
            "ratio": [f"{each:.2f}" for each in table["virial_ratio"]],
        }
        self.view.fill_groups(at[:, 0], at[:, 1], table["r_max"].to_value(u.kpc), told)

    def _show_current(self) -> None:
        row = self._row(self._current)
        for name in ("zoom",):
            self.buttons[name].disabled = row is None
        if row is None or self._clusters is None:
            self.view.fill_current(None, None, "")
            self._numbers.value = ""
            return
        one = self._clusters[row]
        plane = (float(one["r_eff"].value), float(one["sigma_mass"].value))
        shown = plane if np.isfinite(plane).all() and min(plane) > 0 else None
        self.view.fill_current(self._place(), shown, self._current, self._members(int(one["group"])))
        self._numbers.value = group_table(one, str(self._states[row]))

    def _members(self, group: int) -> np.ndarray:
        """Return the places of a group's stars on the map, as the images nearest to its centre."""
        at = self._place()
        if self.groups is None or at is None:
            return np.empty((0, 2))
        rows = self.groups.members(group, 4)
        if len(rows) > _DOTS:
            rows = rows[:: -(-len(rows) // _DOTS)]
        low, high = int(rows.min()), int(rows.max()) + 1
        # One slice of the file, not the whole of it.
        stars = self.snapshot.stars.code("Coordinates", slice(low, high))[rows - low] * self._unit
        place = np.asarray(stars)[:, list(AXES[self.controls.axis.value])] - np.asarray(at)
        if self._box > 0:
            place -= self._box * np.round(place / self._box)
        return np.asarray(place + np.asarray(at))

    def _show_observed(self, observed: Any) -> None:
        if observed is None:
            self.figures["density_size"].legend[0].items = [
                item for item in self.figures["density_size"].legend[0].items if item.label.value != "observed"
            ]
            return
        from sc_lab.population import analyse
        from sc_lab_widgets._host import as_session

        population = analyse(as_session(observed).catalog)
        r, sigma = population.values("r_eff"), population.values("sigma_mass")
        good = np.isfinite(r) & np.isfinite(sigma) & population.candidate
        self.view.observed.data = {
            "r_eff": r[good], "sigma_mass": sigma[good],
            "id": [name for name, kept in zip(population.ids, good, strict=True) if kept],
        }  # fmt: skip

    # ---- as a widget -------------------------------------------------------------------------
    def _plots(self) -> LayoutDOM:
        return self.view.root

    def _parts(self, pane: BokehPane) -> list[ui.Widget]:
        buttons = self._wrapped([*self.buttons.values(), self._runner.widget])
        return [self._wrapped(self._every_control()), buttons, self._status, self.message, pane, self._numbers]

    def _loose(self) -> list[ui.Widget]:
        return [*self.buttons.values(), self.message, self._numbers, self._status]

    def close(self) -> None:
        """Free the widgets and the document, and the file where the panel opened it."""
        self._runner.close()
        super().close()
        if self._mine:
            self.snapshot.close()


def _opened(source: Any) -> tuple[Snapshot, str]:
    """Return the snapshot, and the line of Python that opens it."""
    if source is None:
        from sc_lab.mock import make_snapshot

        return make_snapshot(1), "from sc_lab.mock import make_snapshot\nsnapshot = make_snapshot(1)"
    if isinstance(source, Snapshot):
        return source, "# snapshot: the one that was handed to the panel"
    if isinstance(source, (str, PathLike)):
        line = f"from sc_lab.simulations import read_snapshot\nsnapshot = read_snapshot({str(source)!r})"
        return read_snapshot(source), line
    msg = f"cannot show a {type(source).__name__}; give a Snapshot, the path of one, or nothing for a synthetic one"
    raise InputError(msg)


def _next(choice: ui.Dropdown) -> None:
    """Choose the next entry of a list."""
    values = [each[1] if isinstance(each, tuple) else each for each in choice.options]
    choice.value = values[(values.index(choice.value) + 1) % len(values)]


def _plain(title: str) -> str:
    """Return a title that bokeh takes for text: these signs begin a formula."""
    for sign in ("$$", "\\(", "\\["):
        title = title.replace(sign, sign[0] + "\u2009" + sign[1])
    return title
