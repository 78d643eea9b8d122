"""What the pane does between bokeh and the browser, with the browser's messages written by hand."""

from __future__ import annotations

import gc
import json
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from bokeh.events import Tap
from bokeh.layouts import row
from bokeh.models import ColumnDataSource
from bokeh.plotting import figure
from sc_lab_widgets._pane import BokehPane, Gesture, Key, Rest
from sc_lab_widgets._report import raise_errors
from sc_lab_widgets._theme import DARK, LIGHT

from sc_lab.errors import InputError


class Page:
    """A pane with its figures, and every message it sends."""

    def __init__(self) -> None:
        self.source = ColumnDataSource({"x": [1.0, 2.0], "y": [2.0, 3.0]})
        self.figure = figure(name="a", x_range=(0, 10), y_range=(0, 10), tools="")
        self.figure.scatter("x", "y", source=self.source)
        self.pane = BokehPane(row(self.figure))
        self.sent: list[tuple[dict[str, Any], list[bytes]]] = []
        self.pane.send = lambda content, buffers=None: self.sent.append((content, list(buffers or [])))

    def say(self, kind: str, view: str = "v", **content: Any) -> None:
        """Let the browser say something."""
        self.pane._handle_custom_msg({"type": kind, "view": view, **content}, [])

    def events(self, *items: dict[str, Any], view: str = "v", seq: int = 1) -> None:
        """Let the browser report events."""
        self.say("events", view, seq=seq, body=json.dumps(items))

    def change(self, attr: str, new: Any, model: Any = None) -> dict[str, Any]:
        """Return a change of a property as BokehJS writes it."""
        return {"kind": "ModelChanged", "model": {"id": (model or self.figure).id}, "attr": attr, "new": new}

    def tap(self, x: float) -> dict[str, Any]:
        """Return a tap as BokehJS writes it."""
        values = {
            "type": "map",
            "entries": [["model", {"id": self.figure.id}], ["sx", 1], ["sy", 1], ["x", x], ["y", 1]],
        }
        return {
            "kind": "MessageSent",
            "msg_type": "bokeh_event",
            "msg_data": {"type": "event", "name": "tap", "values": values},
        }

    def patches(self) -> list[list[dict[str, Any]]]:
        """Return the events of every patch sent."""
        return [json.loads(b[0])["events"] for content, b in self.sent if content["type"] == "patch" and b]


@pytest.fixture
def page() -> Iterator[Page]:
    """Return a pane that one view shows."""
    page = Page()
    page.say("need_document")
    page.sent.clear()
    yield page
    page.pane.close()


@pytest.fixture
def shown() -> Iterator[None]:
    """Show errors as a user sees them, where other tests let them through."""
    with raise_errors(on=False):
        yield


def test_changes_of_one_hold_leave_as_one_message(page: Page) -> None:
    """Whatever happens inside the block is sent once, with the newest value of each property."""
    with page.pane.hold():
        page.figure.title.text = "one"
        page.source.data["x"] = np.array([5.0, 6.0])
        with page.pane.hold():
            page.figure.title.text = "two"
        page.source.data["x"] = np.array([7.0, 8.0])
        assert page.sent == []
    (events,) = page.patches()
    assert [(event["kind"], event.get("new")) for event in events] == [
        ("ModelChanged", "two"),
        ("ColumnDataChanged", None),
    ]


def test_arrays_travel_as_binary_buffers(page: Page) -> None:
    """A column of numbers is not written as text."""
    page.source.data["x"] = np.array([5.0, 6.0])
    content, buffers = page.sent[-1]
    assert len(content["ids"]) == 1
    assert np.frombuffer(buffers[1]).tolist() == [5.0, 6.0]


def test_only_the_changed_column_is_sent(page: Page) -> None:
    """The other columns of the source stay where they are."""
    page.source.data["x"] = np.array([5.0, 6.0])
    assert page.patches()[0][0]["cols"] == ["x"]


def test_nothing_is_packed_for_nobody() -> None:
    """Before a page shows the pane changes are not sent; the page gets the document as it then is."""
    page = Page()
    page.figure.title.text = "early"
    assert page.sent == []
    page.say("need_document")
    assert b"early" in page.sent[-1][1][0]
    page.pane.close()


def test_streams_keep_their_order_among_replacements(page: Page) -> None:
    """A replacement of the data is not moved across a stream that builds on the former data."""
    with page.pane.hold():
        page.source.data = {"x": [1.0], "y": [1.0]}
        page.source.stream({"x": [2.0], "y": [2.0]})
        page.source.data = {"x": [3.0], "y": [3.0]}
    kinds = [event["kind"] for event in page.patches()[0]]
    assert kinds.index("ColumnsStreamed") == 1
    assert len(kinds) == 3


def test_callbacks_of_a_message_run_once_and_answer_together(page: Page) -> None:
    """All events of one message are handled under one hold, acknowledged by the message that carries the answer."""
    seen: list[Any] = []
    page.figure.x_range.on_change("start", lambda attr, old, new: seen.append((attr, old, new)))
    page.figure.on_event(Tap, lambda event: (seen.append(event.x), setattr(page.figure.title, "text", "tapped")))
    page.sent.clear()
    page.events(page.change("start", 3.0, page.figure.x_range), page.tap(4.0), seq=7)
    assert seen == [("start", 0, 3.0), 4.0]
    (answer,) = page.sent
    assert answer[0]["ack"] == ("v", 7)
    assert [event["attr"] for event in page.patches()[0]] == ["text"]


def test_a_change_goes_to_the_other_views_only(page: Page) -> None:
    """The view that reported a change does not get it back; a second view does."""
    page.say("need_document", "w")
    page.sent.clear()
    page.events(page.change("start", 3.0, page.figure.x_range))
    assert page.sent[-1][0]["origins"] == ["v"]
    page.say("leave", "w")
    page.events(page.change("start", 4.0, page.figure.x_range))
    assert page.sent[-1][1] == []


@pytest.mark.usefixtures("shown")
def test_error_in_a_callback_is_told_and_the_rest_goes_on(page: Page) -> None:
    """The message names the error; later events of the same message are handled; the acknowledgement comes."""

    def fail(_event: object) -> None:
        msg = "<b>no</b>"
        raise ValueError(msg)

    seen = []
    page.figure.on_event(Tap, fail)
    page.figure.x_range.on_change("start", lambda _attr, _old, new: seen.append(new))
    page.events(page.tap(1), page.change("start", 5.0, page.figure.x_range), seq=9)
    assert page.pane.error == "ValueError: <b>no</b>"
    assert isinstance(page.pane.last_error, ValueError)
    assert seen == [5.0]
    assert page.sent[-1][0]["ack"] == ("v", 9)
    page.pane.clear_error()
    assert page.pane.error == ""


def test_errors_of_callbacks_reach_tests(page: Page) -> None:
    """Under raise_errors a failing callback fails the test."""
    page.pane.on_key(lambda _key: 1 / 0)
    with raise_errors(), pytest.raises(ZeroDivisionError):
        page.events({"kind": "Key", "key": "u", "shift": False, "repeat": False, "figure": ""})


def test_event_about_a_removed_model_is_dropped(page: Page) -> None:
    """The browser may speak of a model that has just gone; that is nobody's error."""
    page.events({"kind": "ModelChanged", "model": {"id": "p999999"}, "attr": "x", "new": 1})
    assert page.pane.error == ""


def test_keys_and_gestures_reach_their_subscribers(page: Page) -> None:
    """The browser is told what is wanted; callbacks get keys and ends; unsubscribing stops both."""
    seen: list[Any] = []
    stop_keys, stop_ends = page.pane.on_key(seen.append), page.pane.on_gesture_end(seen.append)
    assert page.pane.wants == ["gesture", "key"]
    items = (
        {"kind": "Key", "key": "U", "shift": True, "repeat": False, "figure": "a"},
        {"kind": "Gesture", "gesture": "pointer", "moved": True, "figure": "a"},
    )
    page.events(*items)
    assert seen == [Key("U", shift=True, figure="a"), Gesture("pointer", figure="a", moved=True)]
    stop_keys()
    stop_ends()
    page.events(*items)
    assert page.pane.wants == []
    assert len(seen) == 2


def test_resting_pointers_are_told_to_whoever_listens(page: Page) -> None:
    seen: list[Rest] = []
    assert "rest" not in page.pane.wants
    stop = page.pane.on_rest(seen.append)
    assert page.pane.wants == ["rest"]
    page.say("rest", figure="a", x=0.25, y=3)
    assert seen == [Rest("a", 0.25, 3.0)]
    stop()
    assert page.pane.wants == []


def test_two_panes_are_independent() -> None:
    """Callbacks, documents and views belong to one pane."""
    first, second = Page(), Page()
    seen: list[Key] = []
    first.pane.on_key(seen.append)
    second.events({"kind": "Key", "key": "u", "shift": False, "repeat": False, "figure": ""})
    assert seen == []
    assert second.pane.wants == []
    assert first.pane.document is not second.pane.document
    first.pane.close()
    second.pane.close()


def test_threads_update_without_losing_anything(page: Page) -> None:
    """Two threads holding at once send every last value, and neither waits for the other."""

    def work(name: str) -> None:
        for i in range(50):
            with page.pane.hold():
                page.source.data[name] = np.array([float(i), float(i)])

    threads = [threading.Thread(target=work, args=(name,)) for name in "xy"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    # The last message about each column carries its last value.
    last: dict[str, float] = {}
    for content, buffers in page.sent:
        arrays = dict(zip(content["ids"], buffers[1:], strict=True))
        for event in json.loads(buffers[0])["events"]:
            for name, value in event["data"]["entries"]:
                last[name] = np.frombuffer(arrays[value["array"]["data"]["id"]])[0]
    assert last == {"x": 49.0, "y": 49.0}


def test_theme_flip_makes_the_views_fetch_anew(page: Page) -> None:
    """The document takes the theme; one short message asks the views to reload."""
    assert page.pane.document.theme is LIGHT
    page.pane.dark = True
    assert page.pane.document.theme is DARK
    assert [content["type"] for content, _ in page.sent] == ["reset"]
    assert page.figure.background_fill_color == "#111111"


@pytest.mark.usefixtures("shown")
def test_picture_bytes_reach_the_caller(page: Page) -> None:
    """A request goes to one view; its answer calls back once; a failure is told in words."""
    got: list[bytes] = []
    page.pane.request_image(page.figure, "svg", got.append)
    question = page.sent[-1][0]
    assert (question["type"], question["to"], question["figure"]) == ("image", "v", page.figure.id)
    answer = {"type": "image", "request": question["request"]}
    page.pane._handle_custom_msg(answer, [memoryview(b"<svg/>")])
    page.pane._handle_custom_msg(answer, [memoryview(b"<svg/>")])
    assert got == [b"<svg/>"]
    page.pane._handle_custom_msg({"type": "image", "error": "too large"}, [])
    assert "too large" in page.pane.error


def test_impossible_pictures_are_refused_in_words(page: Page) -> None:
    """Unknown kinds, foreign figures and panes that no page shows."""
    with pytest.raises(InputError, match="png or svg"):
        page.pane.request_image(page.figure, "pdf", print)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="not in this pane"):
        page.pane.request_image(figure(), "png", print)
    page.say("leave")
    with pytest.raises(InputError, match="display it first"):
        page.pane.request_image(page.figure, "png", print)


def test_bokehjs_is_sent_only_when_asked(page: Page) -> None:
    """The scripts of the installed bokeh go out on demand, small enough for the server's data-rate limit."""
    page.say("need_bokehjs")
    content, files = page.sent[-1]
    assert content == {"type": "bokehjs", "to": "v"}
    assert len(files) == 3
    # Jupyter's default allows 1 MB/s over 3 s.
    assert sum(map(len, files)) < 1_000_000


def test_closing_frees_everything() -> None:
    """After close() nothing holds the pane or its data; its figures can go into another pane."""
    page = Page()
    page.pane.on_key(lambda _key: None)
    page.say("need_document")
    source, root = page.source, page.pane.document.roots[0]
    page.pane.close()
    page.pane.close()
    with pytest.raises(InputError, match="closed"):
        _ = page.pane.document
    page.events(page.tap(1))
    source.data["x"] = [0.0, 0.0]
    again = BokehPane(root)
    again.close()
    ghost = weakref.ref(page.pane)
    del page.pane.send, page, again
    gc.collect()
    assert ghost() is None
