"""BokehPane: one bokeh document in a notebook widget, one message per gesture in either direction."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gzip
import itertools
import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import anywidget
import bokeh
import traitlets
from bokeh.core.json_encoder import serialize_json
from bokeh.core.serialization import Deserializer, Serializer, UnknownReferenceError
from bokeh.document import Document
from bokeh.document.events import (
    ColumnDataChangedEvent,
    DocumentPatchedEvent,
    ModelChangedEvent,
)
from bokeh.model import Model

from sc_lab.errors import InputError
from sc_lab_widgets._calm import calm
from sc_lab_widgets._report import Reporting, close_dress
from sc_lab_widgets._theme import theme

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bokeh.models import LayoutDOM

__all__ = ["BokehPane", "Gesture", "Key", "Rest"]

# The image kinds that BokehJS can draw itself.
ImageKind = Literal["png", "svg"]
_IMAGE_KINDS: Final = ("png", "svg")
# What a message of the browser may say about the document; the rest is keys and gestures.
_CHANGES: Final = frozenset({"ModelChanged", "ColumnDataChanged", "ColumnsStreamed", "ColumnsPatched"})
_SCRIPTS: Final = ("bokeh.min.js", "bokeh-widgets.min.js", "bokeh-tables.min.js")


@dataclass(frozen=True)
class Key:
    """One key pressed inside a pane: its browser name, whether shift was down, and the figure under the pointer."""

    name: str
    shift: bool = False
    repeat: bool = False
    figure: str = ""


@dataclass(frozen=True)
class Gesture:
    """The end of a gesture that began inside a pane: `kind` is "pointer", "key" or "wheel"."""

    kind: str
    figure: str = ""
    moved: bool = False


@dataclass(frozen=True)
class Rest:
    """A place where the pointer stays over a figure, in data coordinates."""

    figure: str
    x: float
    y: float


@dataclass(frozen=True)
class _Origin:
    """Names the view a change came from, so that it is not sent back there."""

    view: str


@functools.lru_cache(maxsize=1)
def _bokehjs() -> tuple[bytes, ...]:
    """BokehJS of the installed bokeh, packed: as plain text it would trip the server's data-rate limit."""
    folder = Path(bokeh.__file__).parent / "server" / "static" / "js"
    return tuple(gzip.compress((folder / name).read_bytes(), compresslevel=6, mtime=0) for name in _SCRIPTS)


class _Packer(Serializer):
    """Packs changes; looks for the reference of a model when it comes by, where bokeh begins with those of all models."""

    def __init__(self, known: set[Model]) -> None:
        super().__init__()
        self._known = known

    def get_ref(self, obj: Any) -> Any:
        found = super().get_ref(obj)
        return obj.ref if found is None and isinstance(obj, Model) and obj in self._known else found

    def has_ref(self, obj: Any) -> bool:
        return self.get_ref(obj) is not None


def _merge(events: list[DocumentPatchedEvent]) -> list[DocumentPatchedEvent]:
    """Keep the newest of repeated changes of one property or column; streams and patches stay as they are."""
    kept: list[DocumentPatchedEvent] = []
    newest: dict[tuple[Any, ...], int] = {}
    for event in events:
        if isinstance(event, ModelChangedEvent):
            key: tuple[Any, ...] = (event.model.id, event.attr)
        elif isinstance(event, ColumnDataChangedEvent) and event.cols is not None and event.data is None:
            key = (event.model.id, event.attr, *event.cols)
        else:
            # A stream or patch builds on what stood before it: nothing may be merged across it.
            newest.clear()
            kept.append(event)
            continue
        if key in newest and kept[newest[key]].setter == event.setter:
            kept[newest[key]] = event
        else:
            newest[key] = len(kept)
            kept.append(event)
    return kept


class BokehPane(Reporting, anywidget.AnyWidget):
    """Shows one bokeh layout, however many figures it holds, in JupyterLab, Notebook 7 and Voilà.

    Parameters
    ----------
    root : bokeh.models.LayoutDOM
        The layout (or one figure). It joins a document of its own; nothing else may share that document.
    label : str, optional
        What a screen reader calls the pane.

    Notes
    -----
    Change figures and sources from Python as usual: everything changed in one kernel callback leaves as one message,
    at the latest when the callback has returned. `flush` at the end of a handler sends it at once. From a worker
    thread, change things inside ``with pane.hold():``, which also keeps the kernel thread out meanwhile.

    Of one browser message all bokeh callbacks run once, under one `hold`; while the kernel is busy the browser keeps
    only the newest value of each property and the newest pointer position, so take absolute coordinates from bokeh's
    pan events, never sums of their deltas.

    What changes at every step belongs on glyphs with ``level="overlay"``: only they are redrawn then, clipped to the
    frame like any other, while thousands of still points below stay as they are. A change of a title, a range or an
    annotation redraws the whole figure.
    """

    # As text: anywidget watches the file of a path and then keeps every widget of the class alive.
    _esm = "".join(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("_bokehjs.js", "_pane.js"))
    _css = Path(__file__).with_name("_pane.css").read_text(encoding="utf-8")

    version = traitlets.Unicode(bokeh.__version__, read_only=True).tag(sync=True)
    label = traitlets.Unicode("linked plots", help="name of the pane for screen readers").tag(sync=True)
    dark = traitlets.Bool(default_value=False, help="whether the notebook shows its dark theme").tag(sync=True)
    wants = traitlets.List(traitlets.Unicode(), help="the kinds of input Python listens to").tag(sync=True)

    def __init__(self, root: LayoutDOM, *, label: str = "linked plots", **kwargs: Any) -> None:
        # Guards the queue and the packing, never a callback: those may wait for locks of their own.
        self._lock = threading.RLock()
        self._held = threading.local()
        self._pending: list[DocumentPatchedEvent] = []
        self._scheduled = False
        self._loop = _running_loop()
        self._views: list[str] = []
        self._gesture_ends: list[Callable[[Gesture], Any]] = []
        self._keys: list[Callable[[Key], Any]] = []
        self._rests: list[Callable[[Rest], Any]] = []
        self._images: dict[int, Callable[[bytes], Any]] = {}
        self._requests = itertools.count(1)
        self._awaited: tuple[int, Callable[[], Any]] | None = None
        self._root: LayoutDOM | None = root
        if root.document is None:
            Document(theme=theme(dark=False)).add_root(root)
        self._document: Document | None = root.document
        self.document.on_change_dispatch_to(self)
        super().__init__(label=label, **kwargs)

    @property
    def document(self) -> Document:
        """The bokeh document of the pane."""
        if self._document is None:
            msg = "This pane is closed: make a new BokehPane from the figures."
            raise InputError(msg)
        return self._document

    @property
    def on_screen(self) -> bool:
        """Whether a page has shown the pane (and has not taken it away since)."""
        return bool(self._views)

    # ---- kernel to browser -------------------------------------------------------------------------------------
    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Send everything this thread changes inside the block as one message when the outermost block ends."""
        try:
            with self._holding():
                yield
        finally:
            if not self._depth:
                self.flush()

    @contextlib.contextmanager
    def _holding(self) -> Iterator[None]:
        self._held.depth = self._depth + 1
        try:
            yield
        finally:
            self._held.depth -= 1

    @property
    def _depth(self) -> int:
        return getattr(self._held, "depth", 0)

    def once_painted(self, callback: Callable[[], Any]) -> None:
        """Call back once when a page has painted what is sent next; only the newest callback is kept.

        What was on its way to the kernel when the page had painted is handled before: an unchanged state then means
        that the user has paused. A hidden page paints nothing and does not answer.
        """
        self._awaited = (next(self._requests), callback)

    def flush(self) -> None:
        """Send what is waiting now, without waiting for the callback to return.

        In a worker thread the kernel's own loop does the sending.
        """
        if _running_loop() is None and self._loop is not None and self._loop.is_running():
            self._loop.call_soon_threadsafe(self._send_pending)
        else:
            self._send_pending()

    def _document_patched(self, event: DocumentPatchedEvent) -> None:
        """Take an event of the bokeh document (called by bokeh)."""
        with self._lock:
            self._pending.append(event)
            if self._depth or self._scheduled:
                return
            here = _running_loop()
            if here is not None:
                self._scheduled = True
                here.call_soon(self._send_pending)
            elif self._loop is not None and self._loop.is_running():
                self._scheduled = True
                self._loop.call_soon_threadsafe(self._send_pending)
            else:
                self._send_pending()

    def _send_pending(self, ack: tuple[str, int] | None = None) -> None:
        with self._lock:
            events, self._pending, self._scheduled = self._pending, [], False
            if self._document is None:
                return
            views = set(self._views)
            events = _merge([event for event in events if views - {_view_of(event)}])
            message: dict[str, Any] = {"type": "patch"}
            buffers: list[bytes] = []
            if events:
                models = self._document.models
                serializer = _Packer(models.synced_references)
                body = serialize_json({"events": serializer.encode(events)})
                models.flush_synced(lambda model: not serializer.has_ref(model))
                message["ids"] = [buffer.id for buffer in serializer.buffers]
                buffers = [body.encode(), *(buffer.to_bytes() for buffer in serializer.buffers)]
                origins = [_view_of(event) for event in events]
                if any(origins):
                    message["origins"] = origins
            elif not views:
                # Nobody is looking: whoever comes next gets the whole document.
                self._document.models.flush_synced()
            if ack is not None:
                message["ack"] = ack
            if events and self._awaited is not None:
                message["tell"] = self._awaited[0]
            if events or ack is not None:
                self.send(message, buffers)

    def _send_document(self, view: str) -> None:
        with self._lock:
            self._send_pending()
            if view not in self._views:
                self._views.append(view)
            packed = self.document.to_json()
            self.document.models.flush_synced()
            message = {"type": "document", "to": view, "ids": [buffer.id for buffer in packed.buffers]}
            body = serialize_json(packed.content).encode()
            self.send(message, [body, *(buffer.to_bytes() for buffer in packed.buffers)])

    @traitlets.observe("dark")
    def _follow_theme(self, change: dict[str, Any]) -> None:
        if self._document is None:
            return
        with self._lock, self._holding():
            self._document.theme = theme(dark=change["new"])
            # The views fetch the document anew, which is cheaper and safer than hundreds of small changes.
            self._pending.clear()
            self._document.models.flush_synced()
            if self._views:
                self.send({"type": "reset"})

    # ---- browser to kernel -------------------------------------------------------------------------------------
    def on_gesture_end(self, callback: Callable[[Gesture], Any]) -> Callable[[], None]:
        """Call back when a pointer, key or wheel gesture that began inside the pane is over; returns an unsubscribe.

        All changes of the gesture have been handled before: the place to commit what was previewed.
        """
        return self._listen(self._gesture_ends, callback)

    def on_key(self, callback: Callable[[Key], Any]) -> Callable[[], None]:
        """Call back with each key pressed inside the pane, outside its text fields; returns an unsubscribe."""
        return self._listen(self._keys, callback)

    def on_rest(self, callback: Callable[[Rest], Any]) -> Callable[[], None]:
        """Call back when the pointer stays at a place of a figure; returns an unsubscribe.

        A hint of what will be clicked, for work that a click would have to wait for: it need not come before a click,
        and nothing that the user sees may depend on it.
        """
        return self._listen(self._rests, callback)

    def _listen(self, where: list[Any], callback: Callable[..., Any]) -> Callable[[], None]:
        where.append(callback)
        self._tell_wants()

        def unsubscribe() -> None:
            if callback in where:
                where.remove(callback)
                self._tell_wants()

        return unsubscribe

    def _tell_wants(self) -> None:
        self.wants = [name for name, wanted in self._heard if wanted]

    @property
    def _heard(self) -> tuple[tuple[str, list[Any]], ...]:
        return ("gesture", self._gesture_ends), ("key", self._keys), ("rest", self._rests)

    def _handle_custom_msg(self, content: dict[str, Any], buffers: list[memoryview]) -> None:
        """Handle one message of a view (called by ipywidgets)."""
        if self._document is None:
            return
        kind = content.get("type")
        if kind == "events":
            self._handle_events(content)
        elif kind == "painted":
            if self._awaited is not None and self._awaited[0] == content.get("n"):
                callback, self._awaited = self._awaited[1], None
                with self.reporting():
                    callback()
        elif kind == "rest":
            with calm():
                self._call(self._rests, Rest(content["figure"], float(content["x"]), float(content["y"])))
        elif kind == "need_document":
            self._send_document(content["view"])
        elif kind == "need_bokehjs":
            self.send({"type": "bokehjs", "to": content["view"]}, list(_bokehjs()))
        elif kind == "leave":
            self._views = [view for view in self._views if view != content["view"]]
        elif kind == "image":
            self._take_image(content, buffers)

    def _handle_events(self, content: dict[str, Any]) -> None:
        origin = _Origin(content["view"])
        if origin.view in self._views[:-1]:
            # Pictures are asked from the view last used: others may be gone with their page, without a word.
            self._views.remove(origin.view)
            self._views.append(origin.view)
        deserializer: Deserializer | None = None
        try:
            with calm(), self._holding(), self._afterwards():
                for item in json.loads(content["body"]):
                    with self.reporting():
                        if item["kind"] not in _CHANGES:
                            self._run_afterwards()
                        if item["kind"] == "Key":
                            self._call(self._keys, Key(item["key"], item["shift"], item["repeat"], item["figure"]))
                        elif item["kind"] == "Gesture":
                            self._call(self._gesture_ends, Gesture(item["gesture"], item["figure"], item["moved"]))
                        elif self._document is not None:
                            # A failed decoding leaves a deserialiser unusable, hence one anew after each failure.
                            ready, deserializer = deserializer or self._deserializer(origin), None
                            self._apply(ready, item, origin)
                            deserializer = ready
        finally:
            self._send_pending(ack=(origin.view, content["seq"]))

    # ---- once per message ----------------------------------------------------------------------------------------
    def once_applied(self, callback: Callable[[], Any]) -> None:
        """Call back once, when the changes of the browser's message under way are all applied; outside one, at once.

        A dragged box changes four numbers at a time: their answer is worth computing once.
        """
        waiting: list[Callable[[], Any]] | None = getattr(self._held, "afterwards", None)
        if waiting is None:
            callback()
        elif callback not in waiting:
            waiting.append(callback)

    @contextlib.contextmanager
    def _afterwards(self) -> Iterator[None]:
        self._held.afterwards = []
        try:
            yield
        finally:
            self._run_afterwards()
            self._held.afterwards = None

    def _run_afterwards(self) -> None:
        waiting, self._held.afterwards = self._held.afterwards, []
        for callback in waiting:
            with self.reporting():
                callback()

    def _deserializer(self, origin: _Origin) -> Deserializer:
        return Deserializer(list(self.document.models), setter=origin)

    def _apply(self, deserializer: Deserializer, item: dict[str, Any], origin: _Origin) -> None:
        try:
            event = deserializer.deserialize(item)
        except UnknownReferenceError:
            # The browser speaks of a model that Python removed while the message was on its way.
            return
        if event["kind"] == "MessageSent" and event["msg_type"] == "bokeh_event":
            model = getattr(event["msg_data"], "model", None)
            if model is not None:
                # bokeh 3.9 does not notice on_event() of a model that is in a document already.
                model._update_event_callbacks()  # noqa: SLF001 - there is no public way
        DocumentPatchedEvent.handle_event(self.document, event, origin)

    def _call(self, callbacks: list[Any], argument: object) -> None:
        for callback in tuple(callbacks):
            with self.reporting():
                callback(argument)

    # ---- pictures ----------------------------------------------------------------------------------------------
    def request_image(self, figure: LayoutDOM, kind: ImageKind, callback: Callable[[bytes], Any]) -> None:
        """Have the browser draw a figure as a picture file; `callback` gets its bytes when they arrive."""
        request = next(self._requests)
        self._ask_for_image(figure, kind, request=request)
        self._images[request] = callback

    def download(self, figure: LayoutDOM, kind: ImageKind, filename: str) -> None:
        """Have the browser save a figure as a picture file in the user's downloads."""
        self._ask_for_image(figure, kind, filename=filename)

    def _ask_for_image(self, figure: LayoutDOM, kind: str, **rest: Any) -> None:
        if kind not in _IMAGE_KINDS:
            msg = f"kind is {kind!r}; pictures can be {' or '.join(_IMAGE_KINDS)}."
            raise InputError(msg)
        if figure.document is not self.document:
            msg = f"{figure} is not in this pane; give one of its own figures."
            raise InputError(msg)
        if not self._views:
            msg = "The browser draws the pictures and no page shows this pane: display it first."
            raise InputError(msg)
        self.flush()
        self.send({"type": "image", "to": self._views[-1], "figure": figure.id, "kind": kind, **rest})

    def _take_image(self, content: dict[str, Any], buffers: list[memoryview]) -> None:
        callback = self._images.pop(content.get("request", 0), None)
        with self.reporting(), self.hold():
            if content.get("error"):
                msg = f"The browser could not draw the picture: {content['error']}"
                raise InputError(msg)
            if callback is not None:
                callback(bytes(buffers[0]))

    # ---- the end -----------------------------------------------------------------------------------------------
    def close(self) -> None:
        """Free the document, the callbacks and the browser's part; the figures may then go into another pane."""
        with self._lock:
            document, self._document, self._root = getattr(self, "_document", None), None, None
            if document is not None:
                document.remove_on_change(self)
                document.clear()
                for kept in (self._pending, self._views, self._gesture_ends, self._keys, self._rests, self._images):
                    kept.clear()
        close_dress(self)
        super().close()


def _view_of(event: DocumentPatchedEvent) -> str | None:
    return event.setter.view if isinstance(event.setter, _Origin) else None


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
