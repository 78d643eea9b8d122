"""A stopwatch in the page, the same for every tool: from an input event to the paint that shows its consequence."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "browser"))

from browser import Browser  # noqa: E402 - the driver of the browser tests, a module of theirs

__all__ = ["ROOT", "Stopwatch", "median", "quantile", "rate"]

# Runs before every script of the page. A plot counts as redrawn when one of its canvases (2D or WebGL) was drawn to, or
# its SVG changed, whatever layer that was on. What is drawn inside an animation frame is on the screen in that frame,
# what is drawn by a task in the next one; a message posted in a frame arrives once the frame has been painted.
_STOPWATCH = r"""
(() => {
  if (window.__stopwatch) return;
  const W = window.__stopwatch = {run: null};
  const PLOT = ".bk-Figure, .bqplot";
  const up = (node) => node.parentNode ?? node.host;
  const plots = new WeakMap();
  const plotOf = (node) => {
    let plot = plots.get(node);
    if (plot?.isConnected) return plot;
    for (plot = node; plot && !plot.matches?.(PLOT); ) plot = up(plot);
    if (plot) plots.set(node, plot);
    return plot;
  };
  W.plots = (root = document, found = []) => {
    for (const el of root.querySelectorAll("*")) {
      if (el.matches(PLOT) && el.getBoundingClientRect().width > 20 && !up(el).closest?.(PLOT)) found.push(el);
      if (el.shadowRoot) W.plots(el.shadowRoot, found);
    }
    return found;
  };
  W.name = (el, i) => {
    for (const pane of window.__scLab?.panes ?? []) {
      const view = pane.plots().find((p) => p.el === el);
      if (view) return view.model.name;
    }
    return `plot ${i + 1}`;
  };

  const frame = window.requestAnimationFrame.bind(window);
  let inFrame = false;
  window.requestAnimationFrame = (f) => frame((t) => {
    const outer = inFrame;
    inFrame = true;
    try { f(t); } finally { inFrame = outer; }
  });
  const channel = new MessageChannel();
  let painted = [];
  channel.port1.onmessage = () => { const now = performance.now(); painted.splice(0).forEach((f) => f(now)); };
  const behindFrame = (f) => { painted.push(f); channel.port2.postMessage(0); };
  const drawn = (node) => {
    const run = W.run;
    if (!run || run.start === null) return;
    const plot = node && plotOf(node);
    if (!plot || !run.names.has(plot) || run.due.has(plot)) return;
    run.due.add(plot);
    const done = (now) => { run.due.delete(plot); run.last = now; run.paints.push([run.names.get(plot), now]); };
    if (inFrame) behindFrame(done); else frame(() => behindFrame(done));
  };
  const watch = (kind, names) => {
    for (const name of names) {
      const original = kind?.prototype[name];
      if (original) kind.prototype[name] = function (...args) { drawn(this.canvas); return original.apply(this, args); };
    }
  };
  watch(CanvasRenderingContext2D, ["clearRect", "drawImage", "putImageData"]);
  for (const kind of [window.WebGLRenderingContext, window.WebGL2RenderingContext]) {
    watch(kind, ["clear", "drawArrays", "drawElements", "drawArraysInstanced", "drawElementsInstanced"]);
  }
  const svg = new MutationObserver((all) => {
    if (W.run) for (const {target} of all) if (target.ownerSVGElement) drawn(target);
  });
  svg.observe(document, {subtree: true, childList: true, attributes: true, characterData: true});

  W.arm = (kind, newest, wanted) => {
    const names = new Map(W.plots().map((el, i) => [el, W.name(el, i)]));
    for (const [el, name] of names) if (wanted && !wanted.includes(name)) names.delete(el);
    W.run = {kind, newest, names, start: null, first: null, inputs: 0, last: 0, due: new Set(), paints: [],
             arrivals: []};
    return [...names.values()];
  };
  for (const kind of ["keydown", "pointermove", "pointerup"]) {
    window.addEventListener(kind, (e) => {
      const run = W.run;
      if (run?.kind !== kind) return;
      run.inputs++;
      run.first ??= e.timeStamp;
      if (run.start === null || run.newest) run.start = e.timeStamp;
    }, {capture: true, passive: true});
  }
  const Socket = window.WebSocket;
  window.WebSocket = class extends Socket {
    constructor(...args) {
      super(...args);
      this.addEventListener("message", (e) => {
        if (W.run && W.run.start !== null) W.run.arrivals.push([performance.now(), e.data.byteLength ?? e.data.length]);
      });
    }
  };
  W.result = (quiet, limit) => {
    const run = W.run, now = performance.now();
    if (!run || run.start === null) return null;
    const seen = new Set(run.paints.map(([name]) => name));
    const all = [...run.names.values()].every((name) => seen.has(name));
    const calm = !run.due.size && now - Math.max(run.last, run.start) > quiet;
    if (!(all && calm) && now - run.start < limit) return null;
    W.run = null;
    return {all, start: run.start, begin: run.first, inputs: run.inputs, paints: run.paints, arrivals: run.arrivals};
  };
})();
"""


def quantile(values: list[float], q: float) -> float:
    """Return a quantile, the nearest value of the sorted list."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(q * (len(ordered) - 1)))]


class Stopwatch(Browser):
    """A browser whose page times every plot it shows, of whatever tool."""

    def _open_browser(self) -> None:
        super()._open_browser()
        self.page.add_init_script(_STOPWATCH)

    def await_plots(self, n: int) -> None:
        """Wait until so many plots are on the page and at rest."""
        self.wait_for("(n) => __stopwatch.plots().length >= n", n, 120)
        self.pause(1.5)

    def watch(
        self,
        action: Any,
        *,
        event: str = "keydown",
        newest: bool = False,
        plots: list[str] | None = None,
        quiet: float = 0.15,
        limit: float = 8.0,
    ) -> dict[str, Any]:
        """Do something that fires the event and return what was painted, in ms after the event.

        Parameters
        ----------
        action : callable
            Fires the event.
        event : str
            ``keydown``, ``pointermove`` or ``pointerup``.
        newest : bool
            Count from the last such event instead of the first.
        plots : list of str, optional
            Plots that must be redrawn; by default all on the page.
        quiet, limit : float
            Seconds without a paint that end the measurement; seconds after which it is given up.
        """
        names = self.js("([e, n, p]) => __stopwatch.arm(e, n, p)", [event, newest, plots])
        action()
        seen = self.wait_for("([q, l]) => __stopwatch.result(q, l)", [quiet * 1000, limit * 1000], limit + 30)
        start = seen["start"]
        first: dict[str, float] = {}
        for name, at in seen["paints"]:
            if at > start:
                first.setdefault(name, at - start)
        complete = all(name in first for name in names)
        return {
            "paint": max(first.values()) if complete else None,
            "settled": seen["paints"][-1][1] - start if seen["paints"] else None,
            "first": first,
            "paints": [(name, at - start) for name, at in seen["paints"]],
            "length": seen["start"] - seen["begin"],
            "inputs": seen["inputs"],
            "messages": len(seen["arrivals"]),
            "bytes": sum(size or 0 for _, size in seen["arrivals"]),
            "answer": seen["arrivals"][0][0] - start if seen["arrivals"] else None,
            "plots": names,
        }


def rate(paints: list[tuple[str, float]], plots: list[str], begin: float, end: float) -> float:
    """Return repaints per second of the plot that was repainted least often between two times [ms]."""
    counts = [sum(begin <= at <= end for name, at in paints if name == plot) for plot in plots]
    return min(counts) / ((end - begin) / 1000)


def median(values: list[float]) -> float:
    """Return the median, NaN of nothing."""
    return statistics.median(values) if values else float("nan")
