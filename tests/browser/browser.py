"""A real notebook front end in a real browser: run cells, point, drag, type, look, and time what is seen."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Self

__all__ = ["Browser", "Timing", "find_chromium"]

# Flags for containers without a graphics card; the last two keep timers honest when the page has no focus.
_CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
)

# Runs before every script of the page. A figure counts as painted when a task queued behind the frame in which its
# canvas was cleared has run: Chromium has then produced that frame.
_PROBE = r"""
(() => {
  if (window.__probe) return;
  const P = window.__probe = {armed: null};
  P.plots = () => [...(window.__scLab?.panes ?? [])].flatMap((pane) => pane.plots());
  P.plot = (name) => P.plots().findLast((p) => p.model.name === name && p.el.isConnected);
  P.at = (name, x, y) => {
    const plot = P.plot(name);
    if (!plot) return null;
    const box = plot.canvas_view.el.getBoundingClientRect();
    return [box.left + plot.frame.x_scale.compute(x), box.top + plot.frame.y_scale.compute(y)];
  };
  const nameOf = new WeakMap();
  const owner = (canvas) => {
    if (!nameOf.has(canvas)) {
      let node = canvas;
      while (node && !(node.matches?.(".bk-Figure, .sc-lab-probe"))) node = node.parentNode ?? node.host;
      const plot = node && P.plots().find((p) => p.el === node);
      if (!plot) return node?.dataset?.name;
      nameOf.set(canvas, plot.model.name);
    }
    return nameOf.get(canvas);
  };
  const channel = new MessageChannel();
  let behind = [];
  channel.port1.onmessage = () => { const now = performance.now(); behind.splice(0).forEach((f) => f(now)); };
  const afterPaint = (f) => requestAnimationFrame(() => { behind.push(f); channel.port2.postMessage(0); });
  const drawn = (canvas) => {
    const a = P.armed;
    if (!a || a.start === null) return;
    const name = owner(canvas);
    if (!name || !a.names.has(name)) return;
    a.last = performance.now();
    a.draws[name] = (a.draws[name] ?? 0) + 1;
    if (a.due.has(name)) return;
    a.due.add(name);
    afterPaint((now) => { a.due.delete(name); a.first[name] ??= now; a.latest = now; a.paints.push([name, now]); });
  };
  const clear = CanvasRenderingContext2D.prototype.clearRect;
  CanvasRenderingContext2D.prototype.clearRect = function (...args) {
    drawn(this.canvas);
    return clear.apply(this, args);
  };
  P.arm = (names, kind, newest) => {
    P.armed = {names: new Set(names), kind, newest, start: null, inputs: 0, first: {}, latest: 0, last: 0, draws: {},
      due: new Set(), paints: [], arrivals: []};
  };
  for (const kind of ["keydown", "pointerdown", "pointermove", "pointerup"]) {
    window.addEventListener(kind, (e) => {
      const a = P.armed;
      if (!a || a.kind !== kind) return;
      a.inputs++;
      if (a.start === null || a.newest) a.start = e.timeStamp;
    }, {capture: true, passive: true});
  }
  const Socket = window.WebSocket;
  window.WebSocket = class extends Socket {
    constructor(...args) {
      super(...args);
      this.addEventListener("message", (e) => {
        const a = P.armed;
        const bytes = e.data.byteLength ?? e.data.length ?? 0;
        if (a && a.start !== null) a.arrivals.push([performance.now() - a.start, bytes]);
      });
    }
  };
  P.result = (quiet, limit) => {
    const a = P.armed, now = performance.now();
    if (!a || a.start === null) return null;
    const all = [...a.names].every((name) => name in a.first);
    if (!(all && !a.due.size && now - Math.max(a.last, a.latest) > quiet) && now - a.start < limit) return null;
    P.armed = null;
    const at = Object.values(a.first).map((t) => t - a.start);
    return {complete: all, paint: Math.max(...at), earliest: Math.min(...at), settled: a.latest - a.start,
      draws: a.draws, arrivals: a.arrivals, inputs: a.inputs,
      paints: [...new Set(a.paints.map(([, t]) => t - a.start))].sort((p, q) => p - q)};
  };
})();
"""


def find_chromium() -> str | None:
    """Path of a Chromium or Chrome of the system, or None."""
    asked = os.environ.get("SC_LAB_CHROMIUM")
    if asked:
        return asked
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class _Playwright:
    """The one Playwright that a thread may run, shared by the browsers that are open."""

    _users = 0
    _manager: Any = None
    _running: Any = None

    def __enter__(self) -> Any:
        """Start it for the first user."""
        cls = type(self)
        if cls._users == 0:
            from playwright.sync_api import sync_playwright

            cls._manager = sync_playwright()
            cls._running = cls._manager.__enter__()
        cls._users += 1
        return cls._running

    def __exit__(self, *exc: object) -> None:
        """Stop it with the last user."""
        cls = type(self)
        cls._users -= 1
        if cls._users == 0:
            cls._manager.__exit__(*exc)


def _quantile(values: Sequence[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(q * (len(ordered) - 1)))]


@dataclass(frozen=True)
class Timing:
    """Milliseconds from an input event to the paint in which all named figures were redrawn, one per repeat."""

    paint: tuple[float, ...]
    settled: tuple[float, ...]
    arrival: tuple[float, ...]
    missed: int
    messages: float
    rows: tuple[dict[str, Any], ...] = field(repr=False)

    @property
    def median(self) -> float:
        """Median of the paint times."""
        return statistics.median(self.paint)

    @property
    def p95(self) -> float:
        """95th percentile of the paint times."""
        return _quantile(self.paint, 0.95)

    def __str__(self) -> str:
        """One line for a report."""
        arrival = statistics.median(self.arrival) if self.arrival else float("nan")
        return (
            f"median {self.median:6.1f} ms  p95 {self.p95:6.1f} ms  (n={len(self.paint)}, missed {self.missed}, "
            f"kernel's first answer {arrival:.1f} ms, {self.messages:.1f} messages, "
            f"settled {statistics.median(self.settled):.1f} ms)"
        )


class Browser:
    """One notebook server and one page of a real browser; use it in a ``with`` block.

    Parameters
    ----------
    app : {"lab", "notebook", "voila"}
        The front end.
    size : tuple of int
        Size of the page in pixels.
    env : dict, optional
        More environment variables for the server and its kernels.
    python : str, optional
        Interpreter that runs the server; default this one.
    dark : bool
        Whether the page starts in JupyterLab's dark theme.
    files : dict, optional
        Files to copy into the server's folder before it starts, by their names in it.
    start : list of str, optional
        Module and arguments that start JupyterLab in place of the usual ones.
    """

    def __init__(
        self,
        app: str = "lab",
        *,
        size: tuple[int, int] = (1500, 1150),
        env: dict[str, str] | None = None,
        python: str = sys.executable,
        dark: bool = False,
        files: dict[str, Path] | None = None,
        start: list[str] | None = None,
    ) -> None:
        if app not in {"lab", "notebook", "voila"}:
            msg = f"app is {app!r}; it can be 'lab', 'notebook' or 'voila'."
            raise ValueError(msg)
        self.app, self.size, self.python, self.dark = app, size, python, dark
        self._env, self._files = env or {}, files or {}
        self._lab = start or ["jupyterlab"]
        self._stack = contextlib.ExitStack()
        self.log: list[tuple[str, str]] = []
        self.page: Any = None
        self.url = ""

    # ---- start and end -----------------------------------------------------------------------------------------
    def __enter__(self) -> Self:
        """Start the server and the browser."""
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        """Stop both and remove the directory."""
        self._stack.close()

    def _start(self) -> None:
        base = Path(tempfile.mkdtemp(prefix="sc-lab-browser-"))
        self._stack.callback(shutil.rmtree, base, ignore_errors=True)
        self.folder = base / "work"
        self.folder.mkdir()
        for name, file in self._files.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, self.folder / name)
        settings = base / "settings"
        for name, content in {
            "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
            "@jupyterlab/docmanager-extension/plugin": {"autosave": False},
            "@jupyterlab/apputils-extension/themes": {"theme": f"JupyterLab {'Dark' if self.dark else 'Light'}"},
        }.items():
            file = settings / f"{name}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(content))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.token = "" if self.app == "voila" else secrets.token_hex(16)
        self.url = f"http://127.0.0.1:{port}"
        server = [
            "--ServerApp.ip=127.0.0.1",
            f"--ServerApp.port={port}",
            "--ServerApp.port_retries=0",
            f"--IdentityProvider.token={self.token}",
            "--ServerApp.open_browser=False",
            "--ServerApp.allow_root=True",
        ]
        root = f"--ServerApp.root_dir={self.folder}"
        command = {
            "lab": [
                *self._lab,
                *([root] * (self._lab == ["jupyterlab"])),
                "--LabApp.expose_app_in_browser=True",
                *server,
            ],
            "notebook": ["notebook", "--JupyterNotebookApp.expose_app_in_browser=True", root, *server],
            "voila": ["voila", str(self.folder), "--no-browser", f"--port={port}", "--Voila.ip=127.0.0.1"],
        }[self.app]
        clean = {key: value for key, value in os.environ.items() if not key.startswith("JUPYTER")}
        homes = {
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "IPYTHONDIR": "ipython",
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        }
        env = clean | {key: str(base / folder) for key, folder in homes.items()} | self._env
        self.server_log = base / "server.log"
        with self.server_log.open("wb") as log:
            process = subprocess.Popen(
                [self.python, "-m", *command],
                cwd=self.folder,
                env=env,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._stack.callback(self._stop, process)
        self._await_server(process)
        self._open_browser()

    def _await_server(self, process: subprocess.Popen[bytes], limit: float = 90) -> None:
        url = f"{self.url}/" if self.app == "voila" else f"{self.url}/api/status?token={self.token}"
        end = time.monotonic() + limit
        while time.monotonic() < end and process.poll() is None:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(url, timeout=5).read()
                return
            time.sleep(0.2)
        msg = f"The server did not come up:\n{self.server_log.read_text()[-3000:]}"
        raise RuntimeError(msg)

    @staticmethod
    def _stop(process: subprocess.Popen[bytes]) -> None:
        # The session of its own holds the kernels too.
        for number, patience in ((signal.SIGTERM, 8), (signal.SIGKILL, 5)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)
                return

    def _open_browser(self) -> None:
        chromium = find_chromium()
        if chromium is None:
            msg = "No Chromium found: install one or name it in SC_LAB_CHROMIUM."
            raise RuntimeError(msg)
        playwright = self._stack.enter_context(_Playwright())
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=list(_CHROMIUM_FLAGS))
        self._stack.callback(browser.close)
        self.context = browser.new_context(viewport={"width": self.size[0], "height": self.size[1]})
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.page.add_init_script(_PROBE)
        self.page.on("console", lambda message: self.log.append((message.type, message.text)))
        self.page.on("pageerror", lambda error: self.log.append(("pageerror", str(error))))

    # ---- notebooks ---------------------------------------------------------------------------------------------
    def write(self, cells: Iterable[str], name: str = "test.ipynb") -> str:
        """Write a notebook of code cells; returns its name."""
        notebook = {
            "nbformat": 4,
            "nbformat_minor": 5,
            "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
            "cells": [
                {
                    "cell_type": "code",
                    "id": f"cell-{i}",
                    "metadata": {},
                    "source": source,
                    "outputs": [],
                    "execution_count": None,
                }
                for i, source in enumerate(cells)
            ],
        }
        (self.folder / name).write_text(json.dumps(notebook))
        return name

    def open(self, name: str) -> Browser:
        """Open a notebook of the server's folder."""
        path = {
            "lab": f"/lab/tree/{name}?reset&token={self.token}",
            "notebook": f"/notebooks/{name}?token={self.token}",
            "voila": f"/voila/render/{name}",
        }[self.app]
        self.page.goto(self.url + path, wait_until="domcontentloaded", timeout=90_000)
        if self.app != "voila":
            self._await_notebook()
        return self

    def _await_notebook(self) -> None:
        self.wait_for(
            """() => { const notebook = window.jupyterapp?.shell?.currentWidget;
            const kernel = notebook?.sessionContext?.session?.kernel;
            return notebook?.context?.isReady && ['idle', 'busy'].includes(kernel?.status); }"""
        )
        if self.app == "lab":
            self.js("() => { const s = window.jupyterapp.shell; s.collapseLeft(); s.collapseRight(); }")

    def reload(self) -> Browser:
        """Reload the page (the kernel lives on)."""
        self.page.reload(wait_until="domcontentloaded")
        if self.app != "voila":
            self._await_notebook()
        return self

    def run(self, cells: Iterable[str] | None = None, *, name: str = "test.ipynb", figures: int = 0) -> Browser:
        """Write and open a notebook of these cells, run it, and wait for so many painted figures."""
        if cells is not None:
            self.open(self.write(cells, name))
        if self.app != "voila":
            self.command("notebook:run-all-cells")
            self.wait_idle()
            errors = self.js(
                """() => window.jupyterapp.shell.currentWidget.content.widgets.flatMap((cell) =>
                (cell.model.outputs?.toJSON() ?? []).filter((o) => o.output_type === 'error')
                .map((o) => o.ename + ': ' + o.evalue))"""
            )
            if errors:
                raise RuntimeError("; ".join(errors))
        return self.await_figures(figures)

    def await_figures(self, n: int) -> Browser:
        """Wait until `n` figures are on the page and have size."""
        if n:
            self.wait_for(
                """(n) => __probe.plots().filter((p) => p.el.getBoundingClientRect().width > 20 &&
                p._render_count > 0).length >= n""",
                n,
            )
            self.pause(0.2)
        return self

    def command(self, name: str, **arguments: Any) -> None:
        """Execute a command of the application."""
        self.js("([n, a]) => window.jupyterapp.commands.execute(n, a).then(() => null)", [name, arguments])

    def wait_idle(self) -> None:
        """Wait until the kernel has nothing to do."""
        self.wait_for(
            "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'",
        )

    def kernel_exec(self, code: str) -> str:
        """Run code in the kernel of the open notebook; returns what it printed, raises what it raised."""
        said, failed = self.js(
            """async (code) => {
            const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
            const future = kernel.requestExecute({code, store_history: false});
            let said = '', failed = '';
            future.onIOPub = (m) => {
              if (m.header.msg_type === 'stream') said += m.content.text;
              if (m.header.msg_type === 'error') failed = m.content.ename + ': ' + m.content.evalue;
            };
            await future.done;
            return [said, failed]; }""",
            code,
        )
        if failed:
            raise RuntimeError(failed)
        return str(said)

    def kernel_eval(self, expression: str) -> Any:
        """Value of a Python expression in the kernel, by way of JSON."""
        mark = "@@value@@"
        said = self.kernel_exec(f"import json as _json; print({mark!r} + _json.dumps({expression}, default=float))")
        return json.loads(said.rpartition(mark)[2])

    # ---- looking -----------------------------------------------------------------------------------------------
    def js(self, expression: str, argument: Any = None) -> Any:
        """Value of a JavaScript expression in the page."""
        return self.page.evaluate(expression, argument)

    def wait_for(self, expression: str, argument: Any = None, limit: float = 60) -> Any:
        """Wait until a JavaScript expression holds."""
        return self.page.wait_for_function(expression, arg=argument, timeout=limit * 1000, polling=50).json_value()

    def wait_for_kernel(self, expression: str, limit: float = 10) -> Any:
        """Wait until a Python expression holds in the kernel; returns its value."""
        end = time.monotonic() + limit
        while not (value := self.kernel_eval(expression)):
            if time.monotonic() > end:
                msg = f"{expression} did not come true; it is {value!r}"
                raise AssertionError(msg)
            self.pause(0.05)
        return value

    def pause(self, seconds: float) -> None:
        """Let the page live on for a while."""
        self.page.wait_for_timeout(seconds * 1000)

    def screenshot(self, path: str | Path) -> Path:
        """Save what the page shows."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=str(path))
        return Path(path)

    def figures(self) -> list[str]:
        """Names of the figures on the page."""
        return list(self.js("() => __probe.plots().map((p) => p.model.name)"))

    def source(self, figure: str, renderer: int = 0) -> dict[str, list[Any]]:
        """Columns that the browser holds for one renderer of a figure."""
        return dict(
            self.js(
                """([f, i]) => Object.fromEntries([...__probe.plot(f).model.renderers[i].data_source.data.entries?.() ??
                Object.entries(__probe.plot(f).model.renderers[i].data_source.data)].map(([k, v]) => [k, [...v]]))""",
                [figure, renderer],
            )
        )

    def errors(self) -> list[str]:
        """Errors of the browser's console."""
        return [text for kind, text in self.log if kind in {"error", "pageerror"}]

    def theme(self, *, dark: bool) -> None:
        """Change JupyterLab's theme."""
        self.command("apputils:change-theme", theme=f"JupyterLab {'Dark' if dark else 'Light'}")
        self.wait_for("(d) => document.body.dataset.jpThemeLight === String(!d)", dark)

    # ---- acting ------------------------------------------------------------------------------------------------
    def pixel(self, figure: str, x: float, y: float) -> tuple[float, float]:
        """Where a point of a figure, in data coordinates, is on the page."""
        self.js("(f) => __probe.plot(f)?.el.scrollIntoView({block: 'nearest'})", figure)
        at = self.js("([f, x, y]) => __probe.at(f, x, y)", [figure, x, y])
        if at is None:
            msg = f"There is no figure {figure!r}; there are {self.figures()}."
            raise LookupError(msg)
        return at[0], at[1]

    def tap(self, figure: str, x: float, y: float, *, shift: bool = False, double: bool = False) -> Browser:
        """Click a point of a figure."""
        at = self.pixel(figure, x, y)
        if shift:
            self.page.keyboard.down("Shift")
        (self.page.mouse.dblclick if double else self.page.mouse.click)(*at)
        if shift:
            self.page.keyboard.up("Shift")
        return self

    def hover(self, figure: str, x: float, y: float) -> Browser:
        """Move the pointer over a point of a figure."""
        at = self.pixel(figure, x, y)
        self.page.mouse.move(at[0] - 3, at[1] - 3)
        self.page.mouse.move(*at)
        return self

    def drag(
        self,
        figure: str,
        start: tuple[float, float],
        end: tuple[float, float],
        *,
        steps: int = 8,
        pause: float = 0.0,
        release: bool = True,
    ) -> Browser:
        """Drag from one point of a figure to another."""
        (x0, y0), (x1, y1) = self.pixel(figure, *start), self.pixel(figure, *end)
        mouse = self.page.mouse
        mouse.move(x0, y0)
        mouse.down()
        for i in range(1, steps + 1):
            mouse.move(x0 + (x1 - x0) * i / steps, y0 + (y1 - y0) * i / steps)
            if pause:
                self.pause(pause)
        if release:
            mouse.up()
        return self

    def activate(self, figure: str, tool: str) -> None:
        """Make a tool of a figure the active one, by its bokeh class name."""
        found = self.js(
            """([f, t]) => { const tools = __probe.plot(f).model.toolbar.tools.filter((q) => q.type === t);
            tools.slice(0, 1).forEach((q) => { q.active = true; }); return tools.length; }""",
            [figure, tool],
        )
        if not found:
            msg = f"Figure {figure!r} has no {tool}."
            raise LookupError(msg)

    def slider(self, label: str) -> Any:
        """Locator of the track of a LiveSlider."""
        return self.page.get_by_role("slider", name=label, exact=True).first

    def press(self, key: str, times: int = 1) -> Browser:
        """Press a key where the focus is."""
        for _ in range(times):
            self.page.keyboard.press(key)
        return self

    def drag_slider(
        self, label: str, fractions: Sequence[float], *, pause: float = 0.0, release: bool = True
    ) -> Browser:
        """Drag the handle of a LiveSlider from one fraction of its track to the next ones."""
        track = self.slider(label)
        track.scroll_into_view_if_needed()
        box = track.bounding_box()
        # The handle is 16 px wide and stays inside the track.
        xs = [box["x"] + 8 + part * (box["width"] - 16) for part in fractions]
        y = box["y"] + box["height"] / 2
        mouse = self.page.mouse
        mouse.move(xs[0], y)
        mouse.down()
        for x in xs[1:]:
            mouse.move(x, y)
            if pause:
                self.pause(pause)
        if release:
            mouse.up()
        return self

    # ---- timing ------------------------------------------------------------------------------------------------
    def arm(self, figures: Sequence[str], event: str = "keydown", *, newest: bool = False) -> None:
        """Begin to watch these figures from the next such event on (`newest`: from the last one so far)."""
        self.js("([n, k, w]) => __probe.arm(n, k, w)", [list(figures), event, newest])

    def result(self, *, quiet: float = 0.2, limit: float = 8.0) -> dict[str, Any]:
        """Wait for calm and return what was seen since `arm`, in milliseconds."""
        return dict(self.wait_for("([q, l]) => __probe.result(q, l)", [quiet * 1000, limit * 1000], limit + 20))

    def latency(
        self,
        action: Callable[[], object],
        figures: Sequence[str],
        *,
        event: str = "keydown",
        repeats: int = 30,
        warm_up: int = 3,
        newest: bool = False,
        quiet: float = 0.15,
    ) -> Timing:
        """Time an action from its input event to the first paint in which all these figures were redrawn."""
        rows = []
        for i in range(repeats + warm_up):
            self.arm(figures, event, newest=newest)
            action()
            row = self.result(quiet=quiet)
            if i >= warm_up:
                rows.append(row)
        good = [row for row in rows if row["complete"]]
        if not good:
            msg = f"Not once were all of {list(figures)} redrawn."
            raise AssertionError(msg)
        return Timing(
            paint=tuple(row["paint"] for row in good),
            settled=tuple(row["settled"] for row in good),
            arrival=tuple(row["arrivals"][0][0] for row in good if row["arrivals"]),
            missed=len(rows) - len(good),
            messages=statistics.mean(len(row["arrivals"]) for row in rows),
            rows=tuple(rows),
        )
