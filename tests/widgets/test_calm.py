"""The garbage collector waits for the end of a gesture, and never for long."""

import asyncio
import gc

import pytest
from sc_lab_widgets import _calm
from sc_lab_widgets._calm import calm


@pytest.fixture(autouse=True)
def collecting():
    assert gc.isenabled()
    yield
    gc.enable()
    _calm._since = _calm._waiting = None


def test_it_works_again_at_once_without_an_event_loop():
    with calm():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_in_a_kernel_it_works_again_when_the_gestures_pause(monkeypatch):
    monkeypatch.setattr(_calm, "_PAUSE", 0.05)

    async def drag() -> list[bool]:
        seen = []
        for _ in range(3):
            with calm():
                await asyncio.sleep(0)
            seen.append(gc.isenabled())
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        return [*seen, gc.isenabled()]

    assert asyncio.run(drag()) == [False, False, False, True]


def test_a_drag_without_end_does_not_keep_it_off(monkeypatch):
    monkeypatch.setattr(_calm, "_LONGEST", 0.0)

    async def step() -> bool:
        with calm():
            await asyncio.sleep(0.01)
        return gc.isenabled()

    assert asyncio.run(step())


def test_a_collector_that_the_user_has_switched_off_stays_off():
    gc.disable()
    with calm():
        pass
    assert not gc.isenabled()


def test_an_error_in_a_gesture_does_not_keep_it_off():
    with pytest.raises(ZeroDivisionError), calm():
        _ = 1 / 0
    assert gc.isenabled()
