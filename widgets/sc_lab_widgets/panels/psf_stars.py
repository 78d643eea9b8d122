"""The star panel: a PSF stacked from stars of the mosaic, which are proposed and clicked."""

from __future__ import annotations

import html
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import ipywidgets as ui
import numpy as np
from astropy.table import QTable
from bokeh.events import DoubleTap, Tap

from sc_lab.errors import InputError, ScLabError
from sc_lab.images import Field, compare_psfs, propose_stars, psf_from_stars
from sc_lab_widgets._alone import Alone
from sc_lab_widgets._controls import LiveSlider
from sc_lab_widgets._panel import Controls
from sc_lab_widgets.panels.picker_controls import make_button
from sc_lab_widgets.panels.picker_images import grey
from sc_lab_widgets.panels.psf_stars_choice import Star, StarList
from sc_lab_widgets.panels.psf_stars_profiles import decades, overview, profile
from sc_lab_widgets.panels.psf_stars_view import StarView, state_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from bokeh.models import LayoutDOM

    from sc_lab.images import Band, Psf, PsfComparison
    from sc_lab_widgets._pane import BokehPane, Key

__all__ = ["PsfStars"]

#: Fewer stars than this make a PSF whose error shows in the sizes of clumps.
_ENOUGH = 5
#: Screen distance within which a click finds a star [px].
_REACH = 12.0
#: Look of a cell of the numbers: lines close together, names at the left.
_CELL = "line-height: 1.35; padding: 0 12px 0 0; text-align: left; vertical-align: top"
#: Softening of the grey stretch, in units of the noise.
_SOFTENING = 3.0
_HELP = (
    ("click", "take a star out of the stack, or back in"),
    ("Shift-click", "only make it the current star"),
    ("double-click", "add the star there"),
    ("[ and ]", "previous and next star"),
    ("T", "take the current star out, or back in"),
    ("Delete", "take the current star off the list"),
    ("+ and −", "zoom"),
    ("R", "show the whole mosaic"),
    ("U and Shift-U", "undo and redo"),
    ("Escape", "no current star"),
    ("?", "this list"),
)


class PsfStars(Alone):
    """The PSF of a band from stars of its mosaic: proposed, clicked in or out, added, stacked and compared.

    Parameters
    ----------
    field : Field
        The images.
    band : str, optional
        Band to begin with; None takes the reference band.
    min_snr : float
        Least signal-to-noise ratio of a proposed star.
    size : int, optional
        Side of the stamp, odd [px]; None takes 1.6 arcsec.

    Attributes
    ----------
    controls : Controls
        ``band``, ``min_snr`` and ``size``.
    figures : dict of str to figure
        ``mosaic``, ``psf``, ``star`` and ``profiles``.
    buttons : dict of str to Button
        The buttons by name.

    Notes
    -----
    Each band has a list of stars of its own, which stays while another band is looked at. `field` has the new PSF of
    the present band only; for several bands, go on with ``PsfStars(panel.field, band=...)``.
    """

    title = "PSF from stars"
    label = "SC Lab PSF from stars: mosaic, stack and profiles"

    def __init__(
        self, field: Field, *, band: str | None = None, min_snr: float = 50.0, size: int | None = None
    ) -> None:
        if not isinstance(field, Field):
            msg = f"the star panel shows the mosaics of a Field, not a {type(field).__name__}; see sc_lab.images.Field"
            raise InputError(msg)
        super().__init__()
        start = field[field.reference if band is None else band]
        self._field = field
        self._lists: dict[str, StarList] = {}
        self._searched: dict[str, tuple[str, float]] = {}
        self._sizes: dict[str, int] = {} if size is None else {start.name: size}
        self._current = ""
        self._shown_band = ""
        self._singles: dict[tuple[Any, ...], Psf] = {}
        self._solved: tuple[Any, Psf | ScLabError] | None = None
        self._last_tap = (np.nan, np.nan)
        self.view = StarView()
        self.figures.update(self.view.figures)
        self.controls = Controls(
            band=ui.Dropdown(options=list(field.names), value=start.name, description="band"),
            min_snr=LiveSlider(
                float(min_snr), 5.0, 2000.0, 0.02, label="least S/N", log=True, format=".0f",
                hint="least signal-to-noise ratio of a proposed star", layout={"width": "330px"},
            ),
            size=ui.IntText(
                value=self._sizes.get(start.name, _usual_size(start)),
                description="stamp [px]",
                tooltip="side of the stamp, odd",
                continuous_update=False,
            ),
        )  # fmt: skip
        self.buttons = self._make_buttons()
        self._numbers = ui.HTML()
        plot = self.figures["mosaic"]
        plot.on_event(Tap, lambda event: self._guarded(lambda: self._tapped(event)))
        plot.on_event(DoubleTap, lambda event: self._guarded(lambda: self._double_tapped(event)))
        self.controls.band.observe(self._band_changed, "value")
        self.controls.size.observe(self._size_changed, "value")
        self.controls.min_snr.on_change(lambda _value, final: self._guarded(self._refresh) if final else None)
        self._guarded(self._refresh)

    def _make_buttons(self) -> dict[str, ui.Button]:
        actions: dict[str, tuple[str, str, Callable[[], Any]]] = {
            "previous": ("◀", "previous star ([)", lambda: self.step(-1)),
            "next": ("▶", "next star (])", lambda: self.step(1)),
            "toggle": ("In / out", "take the current star out of the stack, or back in (T)", self.toggle),
            "remove": ("Remove", "take the current star off the list (Delete)", self.remove),
            "undo": ("Undo", "take the last step back (U)", self.undo),
            "redo": ("Redo", "do it again (Shift-U)", self.redo),
            "reset": ("Reset", "show the whole mosaic (R)", self._reset),
            "help": ("Keys", "what clicks and keys do (?)", lambda: self.message.show_list(_HELP)),
        }
        return {name: make_button(*parts, self._guarded) for name, parts in actions.items()}

    # ---- what it gives ---------------------------------------------------------------------
    @property
    def band(self) -> Band:
        """The band that is looked at."""
        return self._field[self.controls.band.value]

    @property
    def choice(self) -> StarList:
        """The stars of the band, with the way back."""
        band, wanted = self.band, (self.band.name, float(self.controls.min_snr.value))
        found = self._lists.get(band.name)
        if found is None:
            found = self._lists[band.name] = StarList(band)
        if self._searched.get(band.name) != wanted:
            found.propose(propose_stars(self._field, band.name, min_snr=wanted[1]))
            self._searched[band.name] = wanted
        return found

    @property
    def stars(self) -> QTable:
        """The list: id, ra, dec, x, y, snr and whether each is used."""
        import astropy.units as u

        stars = self.choice.stars
        table = QTable({"id": np.array([star.id for star in stars], dtype=str)})
        for name, unit in (("ra", u.deg), ("dec", u.deg), ("x", u.pix), ("y", u.pix)):
            table[name] = np.array([getattr(star, name) for star in stars], dtype=float) * unit
        table["snr"] = np.array([star.snr for star in stars], dtype=float)
        table["used"] = np.array([star.used for star in stars], dtype=bool)
        return table

    @property
    def psf(self) -> Psf:
        """The stack of the chosen stars.

        Raises
        ------
        InputError
            If no star can be used, or the stamp cannot be.
        """
        band, size = self.band, int(self.controls.size.value)
        places = tuple(star.place for star in self.choice.used)
        key = (band.name, size, places)
        if self._solved is None or self._solved[0] != key:
            try:
                self._solved = (key, self._stack(places))
            except ScLabError as error:
                self._solved = (key, error)
        answer = self._solved[1]
        if isinstance(answer, ScLabError):
            raise answer
        return answer

    def _stack(self, places: tuple[tuple[float, float], ...]) -> Psf:
        if not places:
            msg = (
                f"{self.band.name}: no star is in the stack; click one, double-click to add one, or lower the least S/N"
            )
            raise InputError(msg)
        band, size = self.band, int(self.controls.size.value)
        return psf_from_stars(self._field, band.name, np.array(places), size=size, model=band.psf)

    @property
    def result(self) -> Psf:
        """What the call that `code` prints gives: the stack."""
        return self.psf

    @property
    def comparison(self) -> PsfComparison | None:
        """The stack against the band's present PSF; None where the band has none."""
        return None if self.band.psf is None else compare_psfs(self.band.psf, self.psf)

    @property
    def field(self) -> Field:
        """The field with the stack as the PSF of the present band."""
        return self._field.replace(psfs={self.band.name: self.psf})

    def code(self) -> str:
        """Return the plain-Python text that makes this PSF without any widget.

        Returns
        -------
        str
            Runnable text that needs the variable ``field``; its last line assigns ``result``.
        """
        band = self.band
        rows = "".join(f"    ({star.ra!r}, {star.dec!r}),  # {star.id}\n" for star in self.choice.used)
        model = "" if band.psf is None else f", model=field[{band.name!r}].psf"
        return (
            "from sc_lab.images import psf_from_stars\n\n"
            "# field: the images that were handed to the panel\n"
            f"stars = [  # right ascension and declination, ICRS degrees\n{rows}]\n"
            f"psf = psf_from_stars(field, {band.name!r}, stars, size={int(self.controls.size.value)}{model})\n"
            f"field_with_psf = field.replace(psfs={{{band.name!r}: psf}})\n"
            "result = psf\n"
        )

    # ---- edits -------------------------------------------------------------------------------
    @property
    def current(self) -> Star | None:
        """The star that keys and buttons act on."""
        return next((star for star in self.choice.stars if star.id == self._current), None)

    def _named(self, name: str | None) -> Star:
        star = self.current if name is None else next((s for s in self.choice.stars if s.id == name), None)
        if star is None:
            names = ", ".join(s.id for s in self.choice.stars) or "none"
            msg = f"there is no {'current star' if name is None else f'star {name!r}'}; click one of: {names}"
            raise InputError(msg)
        return star

    def toggle(self, name: str | None = None) -> None:
        """Take a star out of the stack, or back in.

        Parameters
        ----------
        name : str, optional
            Which; the current one by default.

        Raises
        ------
        InputError
            If there is no such star.
        """
        star = self._named(name)
        self.choice.toggle(star)
        self._current = star.id
        self._refresh()

    def add(self, x: float, y: float) -> str:
        """Add the star near a place to the stack.

        Parameters
        ----------
        x, y : float
            Pixel of the band; the star is centred by its light.

        Returns
        -------
        str
            Its name.

        Raises
        ------
        InputError
            If there is no star that a PSF can be made of; the sentence says why.
        """
        star = self.choice.add(x, y, check=self._single)
        self._current = star.id
        self._refresh()
        return star.id

    def remove(self, name: str | None = None) -> None:
        """Take a star off the list.

        Parameters
        ----------
        name : str, optional
            Which; the current one by default.

        Raises
        ------
        InputError
            If there is no such star.
        """
        self.choice.remove(self._named(name))
        self._refresh()

    def undo(self) -> None:
        """Take the last step back."""
        self.choice.undo()
        self._refresh()

    def redo(self) -> None:
        """Do the step taken back last again."""
        self.choice.redo()
        self._refresh()

    def step(self, direction: int) -> None:
        """Make the next or previous star the current one.

        Parameters
        ----------
        direction : {1, -1}
            Which way.
        """
        names = [star.id for star in self.choice.stars]
        if not names:
            return
        at = names.index(self._current) + direction if self._current in names else min(direction, 0)
        self.select(names[at % len(names)])

    def select(self, name: str) -> None:
        """Make a star the current one.

        Parameters
        ----------
        name : str
            Which; an empty name is none.
        """
        self._current = self._named(name).id if name else ""
        self._refresh()

    # ---- clicks and keys ---------------------------------------------------------------------
    def _guarded(self, action: Callable[[], Any]) -> Any:
        """Do something that a user asked for; what is refused is said in place."""
        try:
            with nullcontext() if self._pane is None else self._pane.hold():
                return action()
        except ScLabError as error:
            self.message.report(error)
        return None

    def _nearest(self, x: float, y: float) -> Star | None:
        stars = self.choice.stars
        if not stars:
            return None
        away = np.hypot([star.x - x for star in stars], [star.y - y for star in stars])
        at = int(np.argmin(away))
        return stars[at] if away[at] <= _REACH * self.view.pixels_per_screen_pixel() else None

    def _tapped(self, event: Tap) -> None:
        self._last_tap = (event.x, event.y)
        star = self._nearest(event.x, event.y)
        if star is None:
            return
        if (event.modifiers or {}).get("shift", False):
            self.select(star.id)
        else:
            self.toggle(star.id)

    def _double_tapped(self, event: DoubleTap) -> None:
        x, y = self._last_tap
        apart = np.hypot(event.x - x, event.y - y) / self.view.pixels_per_screen_pixel()
        if not apart <= _REACH or self._nearest(event.x, event.y) is not None:
            # Two quick clicks are two clicks, unless they ask for a star where none is marked.
            self._tapped(event)
        else:
            self.add(event.x, event.y)

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
            "t": self.toggle,
            "delete": self.remove,
            "backspace": self.remove,
            "u": self.redo if key.shift else self.undo,
            "r": self._reset,
            "+": lambda: self.view.zoom(1 / 1.5),
            "=": lambda: self.view.zoom(1 / 1.5),
            "-": lambda: self.view.zoom(1.5),
            "escape": lambda: self.select(""),
            "?": lambda: self.message.show_list(_HELP),
        }
        action = actions.get(key.name.lower())
        if action is None:
            return False
        self._guarded(action)
        return True

    def _reset(self) -> None:
        self.view.show_all()

    def _band_changed(self, _change: Any) -> None:
        self._current = ""
        size = self._sizes.get(self.band.name, _usual_size(self.band))
        self.controls.size.unobserve(self._size_changed, "value")
        self.controls.size.value = size
        self.controls.size.observe(self._size_changed, "value")
        self._guarded(self._refresh)

    def _size_changed(self, change: Any) -> None:
        self._sizes[self.band.name] = int(change["new"])
        self._guarded(self._refresh)

    # ---- bringing up to date -----------------------------------------------------------------
    def _refresh(self) -> None:
        """Bring everything up to date; what cannot be made is said, and the rest is shown."""
        band, stars = self.band, self.choice
        if self._shown_band != band.name:
            image, place = overview(band)
            words = f"{self._field.name} · {band.name}" if self._field.name else band.name
            self.view.fill_mosaic(grey(image, softening=_SOFTENING), place, _plain(words))
            self._shown_band = band.name
        current = self.current
        self.view.fill_stars(stars.stars, current)
        if current is not None:
            self.view.show_place(current.x, current.y)
        for name, possible in (("undo", stars.can_undo), ("redo", stars.can_redo)):
            if self.buttons[name].disabled == possible:
                self.buttons[name].disabled = not possible
        psf: Psf | None = None
        try:
            psf = self.psf
        except ScLabError as error:
            self.message.report(error)
        else:
            if self.message.text:
                self.message.show("")
        self._show_psf(psf, current)

    def _single(self, place: tuple[float, float]) -> Psf:
        """Return the stamp of one star, made as the stack is."""
        key = (self.band.name, int(self.controls.size.value), place)
        if key not in self._singles:
            self._singles[key] = self._stack((place,))
        return self._singles[key]

    def _single_or_none(self, star: Star) -> Psf | None:
        try:
            return self._single(star.place)
        except ScLabError:
            # The cautions of the stack say why it is left out.
            return None

    def _show_psf(self, psf: Psf | None, current: Star | None) -> None:
        band, view = self.band, self.view
        scale = band.pixel_scale
        one = None if current is None else self._single_or_none(current)
        title = "Current star" if current is None else f"Star {current.id}: {state_of(current)}"
        view.fill_stamp("star", None if one is None else decades(one), scale, title)
        view.fill_stamp("psf", None if psf is None else decades(psf), scale, "Stack (log, 4 decades)")
        if psf is None:
            for name in view.curves:
                view.fill_curves(name, [])
            self._numbers.value = ""
            return
        core = psf.fwhm
        singles = [(f"star {star.id}", self._single_or_none(star)) for star in self.choice.used]
        view.fill_curves(
            "profiles of the stars", [(name, *profile(one, core)) for name, one in singles if one is not None]
        )
        view.fill_curves(
            "profile of the current star",
            [] if one is None or current is None else [(f"star {current.id}", *profile(one, core))],
        )
        stack = profile(psf, core)
        view.fill_curves("stack", [("stack", *stack)])
        present = self._present()
        view.fill_curves("present PSF", [] if present is None else [("present PSF", *profile(present, core))])
        view.frame_profiles(*stack)
        self._numbers.value = self._words(psf)

    def _present(self) -> Psf | None:
        """Return the band's present PSF on the pixels of the band."""
        psf, scale = self.band.psf, self.band.pixel_scale
        if psf is None or abs(psf.pixel_scale / scale - 1) < 1e-3:
            return psf
        return psf.resampled(scale)

    def _words(self, psf: Psf) -> str:
        """Return the numbers of the stack, as HTML."""
        band, n = self.band, len(self.choice.used)
        left_out = sum("is left out" in caution for caution in psf.cautions)
        rows = [
            ("stars in the stack", f"{n - left_out} of {len(self.choice.stars)} on the list"),
            ("FWHM", f'{psf.fwhm:.4f}"' + (f' (present PSF {band.psf.fwhm:.4f}")' if band.psf is not None else "")),
            ("energy inside the stamp", f"{psf.energy_fraction:.4f}"),
        ]
        try:
            found = self.comparison
        except ScLabError as error:
            rows.append(("against the present PSF", str(error)))
        else:
            if found is None:
                rows.append(("against the present PSF", "the band has none yet"))
            else:
                rows += _compared(found)
        notes = [words for words in psf.cautions if f"{_ENOUGH} or more" not in words]
        if n - left_out < _ENOUGH:
            notes.insert(
                0,
                f"{n - left_out} stars are in the stack, and {_ENOUGH} or more make a PSF that can be trusted: "
                "lower the least S/N, double-click more stars, or keep the present PSF.",
            )
        body = "".join(
            f'<tr><th scope="row" style="{_CELL}">{_escaped(name)}</th><td style="{_CELL}">{_escaped(text)}</td></tr>'
            for name, text in rows
        )
        said = "".join(f'<div role="status">{_escaped(words)}</div>' for words in notes)
        return f'<table class="sclab-numbers" aria-label="numbers of the PSF">{body}</table>{said}'

    # ---- as a widget -------------------------------------------------------------------------
    def _plots(self) -> LayoutDOM:
        return self.view.root

    def _parts(self, pane: BokehPane) -> list[ui.Widget]:
        # Room for a message is kept free: a text that comes between two clicks must not move the image under them.
        said = ui.Box([self.message], layout=ui.Layout(min_height="38px"))
        return [self._wrapped(self._every_control()), self._wrapped(self.buttons.values()), said, pane, self._numbers]

    def _loose(self) -> list[ui.Widget]:
        return [*self.buttons.values(), self.message, self._numbers]


def _usual_size(band: Band) -> int:
    """Return the side of the stamp that the library takes by default."""
    return 2 * round(0.8 / band.pixel_scale) + 1


def _compared(found: PsfComparison) -> list[tuple[str, str]]:
    """Return the rows on how the stack differs from the present PSF."""
    mean = (found.extra_xx + found.extra_yy) / 2
    # The library's sentence speaks of covariances; a clump of 1 px shows what that is in a size.
    size = float(np.sqrt(max(1.0 + mean, 0.0)))
    return [
        ("against the present PSF", str(found)),
        (
            "extra variance of the stars",
            "{:+.3f} px² along x, {:+.3f} px² along y, {:+.3f} px² across".format(
                # Adding zero keeps a minus away from what rounds to it.
                *(round(value, 3) + 0.0 for value in (found.extra_xx, found.extra_yy, found.extra_xy))
            ),
        ),
        (
            "what it does to sizes",
            f"with the present PSF a clump of σ = 1 px is measured as {size:.3f} px ({round(100 * (size - 1), 1) + 0.0:+.1f} %)",
        ),
    ]


def _escaped(text: str) -> str:
    return html.escape(str(text))


def _plain(title: str) -> str:
    """Return a title that bokeh takes for text: these signs begin a formula."""
    for sign in ("$$", "\\(", "\\["):
        title = title.replace(sign, sign[0] + "\u2009" + sign[1])
    return title
