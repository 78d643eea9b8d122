"""What a LiveSlider promises to Python, with the browser's messages written by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
from sc_lab_widgets._controls import LiveSlider
from sc_lab_widgets._report import raise_errors

from sc_lab.errors import InputError


@pytest.fixture
def slider() -> Iterator[LiveSlider]:
    """Return a slider that records what it sends."""
    slider = LiveSlider(20, 1, 100, 1, "Size threshold", "pc")
    slider.sent = []
    slider.send = lambda content, buffers=None: slider.sent.append(content)
    yield slider
    slider.close()


@pytest.fixture
def shown() -> Iterator[None]:
    """Show errors as a user sees them, where other tests let them through."""
    with raise_errors(on=False):
        yield


def step(slider: LiveSlider, value: Any, *, final: bool, seq: int = 1) -> None:
    """Let the browser move the handle."""
    message = {"type": "step", "view": "v", "seq": seq, "value": value, "final": final}
    slider._handle_custom_msg(message, [])


def test_drag_is_told_live_and_its_end_once(slider: LiveSlider) -> None:
    """Callbacks see every value and whether it is final; `dragging` is True in between."""
    seen: list[tuple[float, bool, bool]] = []
    slider.on_change(lambda value, final: seen.append((value, final, slider.dragging)))
    step(slider, 21, final=False)
    step(slider, 22, final=False)
    step(slider, 22, final=True)
    assert seen == [(21, False, True), (22, False, True), (22, True, False)]


def test_steps_are_acknowledged_and_not_echoed(slider: LiveSlider, monkeypatch: pytest.MonkeyPatch) -> None:
    """One acknowledgement per step; the value itself is not sent back to the hand that moves it."""
    states: list[Any] = []
    monkeypatch.setattr(slider, "send_state", states.append)
    step(slider, 30, final=False, seq=4)
    assert slider.sent == [{"type": "ack", "view": "v", "seq": 4, "value": 30.0}]
    assert states == []


def test_python_assignment_is_a_committed_change(slider: LiveSlider) -> None:
    """`slider.value = 30` calls back as final, once, and an equal value not at all."""
    seen: list[tuple[float, bool]] = []
    slider.on_change(lambda value, final: seen.append((value, final)))
    slider.value = 30
    slider.value = 30
    assert seen == [(30.0, True)]


def test_observe_works_as_with_any_ipywidgets_control(slider: LiveSlider) -> None:
    """The `value` trait notifies for both sources of change."""
    seen: list[float] = []
    slider.observe(lambda change: seen.append(change["new"]), "value")
    slider.value = 30
    step(slider, 31, final=False)
    assert seen == [30.0, 31.0]


@pytest.mark.parametrize("value", [0, 101, math.nan, math.inf])
def test_value_outside_is_refused_in_words(slider: LiveSlider, value: float) -> None:
    """The value stays, and the message says what is allowed."""
    with pytest.raises(InputError, match="1 to 100 pc"):
        slider.value = value
    assert slider.value == 20


@pytest.mark.usefixtures("shown")
def test_value_outside_from_the_browser_is_told_in_place(slider: LiveSlider) -> None:
    """A message that no honest page sends changes nothing and is still acknowledged."""
    step(slider, 1e9, final=True)
    assert slider.value == 20
    assert "1 to 100 pc" in slider.error
    assert slider.sent[-1]["type"] == "ack"


@pytest.mark.parametrize(
    "wrong",
    [{"min": 5, "max": 5}, {"min": 0, "log": True}, {"step": 0}, {"step": -1}, {"format": "%d"}, {"format": ".2x"}],
)
def test_impossible_sliders_are_refused(wrong: dict[str, Any]) -> None:
    """Ends in the wrong order, a logarithm of zero, no step, formats that the browser cannot write."""
    arguments: dict[str, Any] = {"value": 5, "min": 1, "max": 10, "step": 1} | wrong
    with pytest.raises(InputError):
        LiveSlider(**arguments)


def test_default_step_is_a_hundredth_of_the_range() -> None:
    """In dex on a logarithmic scale."""
    assert LiveSlider(5, 0, 10).step == pytest.approx(0.1)
    assert LiveSlider(1e6, 1e5, 1e9, log=True).step == pytest.approx(0.04)


def test_range_moves_with_its_value(slider: LiveSlider) -> None:
    """Both ends and the value change together; a value left outside is refused before anything moves."""
    with pytest.raises(InputError):
        slider.set_range(200, 300)
    assert (slider.min, slider.max, slider.value) == (1, 100, 20)
    slider.set_range(200, 300, 250)
    assert (slider.min, slider.max, slider.value) == (200, 300, 250)


@pytest.mark.usefixtures("shown")
def test_failing_callback_is_told_and_the_others_run(slider: LiveSlider) -> None:
    """The error is shown beside the slider; under raise_errors it fails the test."""
    seen: list[float] = []
    stop = slider.on_change(lambda _value, _final: 1 / 0)
    slider.on_change(lambda value, _final: seen.append(value))
    slider.value = 40
    assert slider.error.startswith("ZeroDivisionError")
    assert seen == [40.0]
    with raise_errors(), pytest.raises(ZeroDivisionError):
        slider.value = 41
    stop()
    stop()
    slider.value = 42
    assert seen[-1] == 42.0


def test_two_sliders_are_independent() -> None:
    """Callbacks and values belong to one slider."""
    first, second = LiveSlider(5, 1, 10), LiveSlider(5, 1, 10)
    seen: list[float] = []
    first.on_change(lambda value, _final: seen.append(value))
    second.value = 6
    assert seen == []
    assert first.value == 5


def test_closed_slider_calls_nobody(slider: LiveSlider) -> None:
    """close() ends every subscription."""
    seen: list[float] = []
    slider.on_change(lambda value, _final: seen.append(value))
    slider.close()
    slider.value = 50
    assert seen == []
