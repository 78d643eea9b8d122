"""The tracks in the colour plot, as a browser shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from workbench_page import FIGURES, START, columns

if TYPE_CHECKING:
    from browser import Browser

pytestmark = pytest.mark.browser

_TRACK = "track: burst, 0.4 Z☉"
_LEGEND = """() => __probe.plot('gc_colours').model.below.find((m) => m.type === 'Legend').items
  .map((item) => item.visible)"""


def until_same_track(page: Browser, kernel: str) -> None:
    """Wait until the browser holds the track that the kernel has."""
    for _ in range(100):
        found, made = columns(page, "gc_colours", _TRACK, "x"), page.kernel_eval(kernel)
        if len(made) > 50 and found == pytest.approx(made):
            return
        page.pause(0.1)
    assert found == pytest.approx(made)


def test_tracks_come_by_themselves_follow_the_lens_and_go(lab: Browser) -> None:
    """What the browser holds is what the kernel made; hiding them takes their legend along."""
    lab.page.set_viewport_size({"width": 1600, "height": 1300})
    lab.run(START, figures=len(FIGURES))
    lab.wait_for_kernel("wb.panels['gc_colours'].tracks is not None", 60)
    x = "list(map(float, wb.panels['gc_colours'].track_layer.lines['burst', 0.4].data['x']))"
    until_same_track(lab, x)
    lab.kernel_exec("wb.controls.z_lens.value = 0.6")
    lab.wait_for_kernel("wb.panels['gc_colours'].tracks.meta['z_lens'] == 0.6", 30)
    until_same_track(lab, x)
    assert lab.js(_LEGEND) == [True] * 5
    lab.kernel_exec("wb.controls.gc_tracks.value = False")
    lab.wait_for("() => !__probe.plot('gc_colours').model.below.find((m) => m.type === 'Legend').items[1].visible")
    assert lab.js(_LEGEND) == [True, False, False, False, False]
    assert lab.errors() == []
