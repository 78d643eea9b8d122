"""The lens model over the cut-outs: critical curves, and where a clump should be seen again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sc_lab_widgets.panels.picker_markers import fitted

if TYPE_CHECKING:
    from sc_lab_widgets.panels.picker import ClumpPicker
    from sc_lab_widgets.panels.picker_images import Box

__all__ = ["LensOverlay"]

#: Steps of the search for critical curves across a cut-out.
_STEPS = 200
#: Kinds of critical curves and how strongly each is drawn.
_KINDS = {"tangential": 1.0, "radial": 0.5}


class LensOverlay:
    """Critical curves and counter-images, worked out beside the clicks.

    Parameters
    ----------
    picker : ClumpPicker
        The picker.
    """

    def __init__(self, picker: ClumpPicker) -> None:
        self.picker = picker
        self._curves: tuple[Any, ...] = ()
        self._place: tuple[float, ...] = ()

    def update(self) -> None:
        """Ask for what the controls want and the cut-outs do not show yet."""
        picker = self.picker
        curves, counter = (picker.view_controls[name].value for name in ("critical", "counter"))
        lens, galaxy = picker.bench.lens, picker.galaxy
        z = float("nan") if galaxy is None else float(galaxy.z)
        if (curves or counter) and lens is None:
            picker.message.show("there is no lens model: give the field one, as in field.replace(lenses=[model])")
            curves = counter = False
        elif (curves or counter) and not np.isfinite(z):
            picker.message.show("the redshift is not known here; choose a galaxy that has one to see the lens")
            curves = counter = False
        self._update_curves(lens, z, on=curves)
        self._update_counter(lens, z, on=counter)

    def _update_curves(self, lens: Any, z: float, *, on: bool) -> None:
        box = self.picker.box
        key = (id(lens), box, z) if on else ()
        if key == self._curves:
            return
        self._curves = key
        if on:
            self.picker.background.ask("critical", lambda: self._find_curves(lens, z, box), self._show_curves)
        else:
            self.picker.background.forget("critical")
            self._show_curves({"xs": [], "ys": [], "alpha": []})

    def _find_curves(self, lens: Any, z: float, box: Box) -> dict[str, list[Any]]:
        band = self.picker.bench.reference
        x = box.x0 + np.array([0.0, box.nx - 1.0, box.nx - 1.0, 0.0])
        y = box.y0 + np.array([0.0, 0.0, box.ny - 1.0, box.ny - 1.0])
        west, north = (np.asarray(values, dtype=float) for values in lens.to_frame(*band.to_sky(x, y)))
        bounds = (west.min(), west.max(), north.min(), north.max())
        step = max(box.nx, box.ny) * band.pixel_scale / _STEPS
        found: dict[str, list[Any]] = {"xs": [], "ys": [], "alpha": []}
        for kind, alpha in _KINDS.items():
            for line in lens.critical_curves(z, kind=kind, bounds=bounds, step=step):
                px, py = band.to_pixel(line[:, 0], line[:, 1])
                found["xs"].append(np.asarray(px, dtype=float))
                found["ys"].append(np.asarray(py, dtype=float))
                found["alpha"].append(alpha)
        return found

    def _show_curves(self, lines: dict[str, list[Any]]) -> None:
        with self.picker.held():
            self.picker.view.critical.data = lines

    def _update_counter(self, lens: Any, z: float, *, on: bool) -> None:
        bench, chosen = self.picker.bench, self.picker.selected
        place: tuple[float, ...] = ()
        if on and len(chosen) == 1:
            row = bench.ids.index(chosen[0])
            place = (float(fitted(bench.fits, "ra")[row]), float(fitted(bench.fits, "dec")[row]), z)
        if place == self._place:
            return
        self._place = place
        if place:
            self.picker.background.ask("counter", lambda: lens.counter_images(*place), self._show_counter)
        else:
            self.picker.background.forget("counter")
            self._show_counter(None)

    def _show_counter(self, table: Any) -> None:
        picker = self.picker
        x = y = np.zeros(0)
        notes: list[str] = []
        if table is not None and len(table):
            places = picker.bench.reference.to_pixel(fitted(table, "ra"), fitted(table, "dec"))
            x, y = (np.asarray(values, dtype=float) for values in places)
            notes = [f"predicted image, μ = {mu:.1f}" for mu in fitted(table, "mu")]
        if table is not None:
            outside = int((~picker.box.contains(x, y)).sum())
            picker.message.show(
                f"the lens model predicts {len(x)} images" + (f", {outside} outside this cut-out" if outside else "")
            )
        with picker.held():
            picker.view.counter.data = {"x": x, "y": y, "note": notes}
