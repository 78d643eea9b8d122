// Browser side of BokehPane: shows one bokeh document, and keeps it in step with the kernel's in both directions.
// `_bokehjs.js` stands before it: what we change in our own copy of BokehJS.

// What several panes of one page share: BokehJS by version, and the open panes (for tools that look at the page).
const shared = (window.__scLab ??= {bokeh: new Map(), panes: new Set()});

// Sizes that each view works out for itself: of no use to the kernel, wrong for other views.
const LOCAL = new Set(["inner_width", "inner_height", "outer_width", "outer_height"]);
// Events of which only the newest matters while the kernel is busy.
const NEWEST = new Set(["mousemove", "pan", "pinch", "rotate", "rangesupdate"]);
const MODIFIERS = new Set(["Shift", "Control", "Alt", "Meta", "CapsLock", "AltGraph", "Dead"]);
// A lost acknowledgement (a dropped connection) must not silence a pane for good.
const PATIENCE_MS = 20000;
// A pointer that stays this long may be about to click.
const REST_MS = 60;

const ask = (model, question, answers, signal) => new Promise((resolve, reject) => {
  const listen = (message, buffers) => {
    if (!answers(message)) return;
    model.off("msg:custom", listen);
    resolve([message, buffers]);
  };
  signal.addEventListener("abort", () => { model.off("msg:custom", listen); reject(new Error("the pane was closed")); });
  model.on("msg:custom", listen);
  model.send(question);
});

// A view's own copy: bokeh wants ArrayBuffers that start at the data, aligned for its typed arrays.
const owned = (view) => view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
const named = (ids, buffers) => new Map(ids.map((id, i) => [id, owned(buffers[i + 1])]));
const parsed = (buffers) => JSON.parse(new TextDecoder().decode(buffers[0]));

async function fetchBokeh(model, view, signal) {
  const [, packed] = await ask(model, {type: "need_bokehjs", view}, (m) => m.type === "bokehjs" && m.to === view, signal);
  const unpack = (b) => new Response(new Blob([b]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  const sources = await Promise.all(packed.map(unpack));
  // A copy of our own: a Bokeh of the page (any version, with any extensions) stays as it is.
  const before = Object.getOwnPropertyDescriptor(window, "Bokeh"), amd = window.define;
  delete window.Bokeh;
  window.define = undefined;
  try {
    for (const source of sources) {
      const script = document.createElement("script");
      script.textContent = source;
      document.head.append(script);
      script.remove();
    }
    if (!window.Bokeh) throw new Error("BokehJS did not load");
    adapt(window.Bokeh);
    dragPoints(window.Bokeh);
    paintLess(window.Bokeh);
    return window.Bokeh;
  } finally {
    delete window.Bokeh;
    if (before) Object.defineProperty(window, "Bokeh", before);
    window.define = amd;
  }
}

async function bokehOf(model, view, signal) {
  const version = model.get("version");
  // Another pane may have started loading and been closed meanwhile: then this one loads.
  try { if (shared.bokeh.has(version)) return await shared.bokeh.get(version); } catch { /* below */ }
  const loading = fetchBokeh(model, view, signal);
  shared.bokeh.set(version, loading);
  loading.catch(() => { if (shared.bokeh.get(version) === loading) shared.bokeh.delete(version); });
  return loading;
}

class PaneView {
  constructor(model, el) {
    this.model = model;
    this.el = el;
    this.id = Math.random().toString(36).slice(2) + Date.now().toString(36);
    this.document = null;
    this.generation = 0;
    this.waiting = [];            // patches that arrive while the document is being built
    this.outbox = [];
    this.flight = null;           // number of the message that the kernel has not acknowledged
    this.sent = 0;
    this.ending = new AbortController();
    this.soon = new MessageChannel();
    this.soon.port1.onmessage = () => { this.paint(); this.report(); };
    this.asked = null;            // number of the patch that the kernel wants to be told of once it is on the screen
    this.pointer = {x: 0, y: 0};
    this.box = document.createElement("div");
    this.box.className = "sc-lab-plots";
    this.error = document.createElement("div");
    this.error.className = "sc-lab-error";
    this.error.setAttribute("role", "alert");
    el.classList.add("sc-lab-pane");
    el.tabIndex = 0;
    el.setAttribute("role", "group");
    el.append(this.box, this.error);
    this.listen(model, "msg:custom", (message, buffers) => this.receive(message, buffers));
    this.listen(model, "change:error", () => this.showError());
    this.listen(model, "change:label", () => this.showLabel());
    this.showError();
    this.showLabel();
    this.watchInput();
    this.watchTheme();
    this.resized = new ResizeObserver(() => this.fit());
    this.resized.observe(this.box);
    this.ending.signal.addEventListener("abort", () => this.resized.disconnect());
    shared.panes.add(this);
  }

  listen(target, name, callback) {
    target.on(name, callback);
    this.ending.signal.addEventListener("abort", () => target.off(name, callback));
  }

  // ---- the document ---------------------------------------------------------------------------------------------
  async load() {
    const {signal} = this.ending, generation = ++this.generation;
    this.Bokeh = await bokehOf(this.model, this.id, signal);
    const [message, buffers] = await ask(this.model, {type: "need_document", view: this.id},
      (m) => m.type === "document" && m.to === this.id, signal);
    if (generation !== this.generation) return;
    this.drop();
    this.loading = true;
    const {Document} = this.Bokeh.require("document");
    const {add_document_standalone} = this.Bokeh.require("embed/standalone");
    const json = parsed(buffers), doc = Document.from_json(json, undefined, named(message.ids, buffers));
    const place = document.createElement("div");
    this.box.replaceChildren(place);
    this.document = doc;
    this.fit();
    try {
      this.views = await add_document_standalone(doc, place, doc.roots().map(() => place));
    } finally {
      this.loading = false;
    }
    if (generation !== this.generation || signal.aborted) return;
    doc.on_change((event) => this.changed(event));
    for (const [m, b] of this.waiting.splice(0)) this.patch(m, b);
    this.el.dataset.ready = String(generation);
  }

  // Figures with square pixels have frames of a fixed size, which a tag makes a share of the pane: [share of the
  // width, after this many pixels for everything else, least, most]. Each view has its own, so the kernel is not told.
  fit() {
    const width = this.el.clientWidth;
    if (!this.document || !width) return;
    for (const model of this.document.all_models) {
      const tag = model.type === "Figure" && model.tags.find((t) => t?.share ?? t?.get?.("share"));
      if (!tag) continue;
      const [share, rest, least, most] = tag.share ?? tag.get("share"), beside = tag.beside ?? tag.get?.("beside");
      const side = Math.round(Math.min(Math.max((width - rest) * share, least), most));
      if (model.frame_height === side) continue;
      model.setv(beside ? {width: side + beside, frame_height: side} : {frame_width: side, frame_height: side}, {sync: false});
    }
  }

  drop() {
    const doc = this.document;
    this.document = this.views = null;
    this.outbox = this.outbox.filter((item) => !item.event);
    this.waiting = [];
    if (!doc) return;
    doc.clear();
    const all = this.Bokeh.documents, at = all.indexOf(doc);
    if (at >= 0) all.splice(at, 1);
  }

  receive(message, buffers) {
    if (message.type === "patch") {
      if (message.ack && message.ack[0] === this.id && message.ack[1] === this.flight) this.flight = null;
      if (message.ids && this.loading) this.waiting.push([message, buffers]);
      else if (message.ids && this.document) this.patch(message, buffers);
      this.post();
    } else if (message.type === "reset") {
      this.start();
    } else if (message.type === "image" && message.to === this.id) {
      this.draw(message);
    }
  }

  patch(message, buffers) {
    this.asked = message.tell ?? this.asked;
    const patch = parsed(buffers);
    // What this view said itself comes back only for the others.
    if (message.origins) patch.events = patch.events.filter((_, i) => message.origins[i] !== this.id);
    if (!patch.events.length) return;
    this.document.apply_json_patch(patch, named(message.ids, buffers));
    // Bokeh has now prepared its glyphs or does so in microtasks. Paint as soon as they are through: its own throttle
    // waits for the next animation frame, or the one after, and will then find nothing left to do.
    // Before whatever else the page has to do: what the notebook makes of the kernel's "busy" and "idle" can wait.
    const {scheduler} = window;
    if (scheduler?.postTask) scheduler.postTask(() => this.soon.port1.onmessage(), {priority: "user-blocking"});
    else this.soon.port2.postMessage(null);
  }

  paint() {
    for (const plot of this.plots()) {
      if (plot._invalidate_all || plot._invalidated_painters.size) plot.repaint();
    }
    // Bokeh's own paint, a frame or two later, is through by then.
    clearTimeout(this.filling);
    this.filling = setTimeout(() => this.plots().forEach((plot) => this.fillLegends(plot)), 80);
  }

  // A layout (of a new title, say) makes the swatches of a legend anew, and a paint just before that finds none to fill.
  fillLegends(plot) {
    for (const model of [...plot.model.below, ...plot.model.center]) {
      const legend = model.type === "Legend" ? plot.renderer_views.get(model) : null;
      const isBlank = (canvas) => canvas.width === 300 && canvas.height === 150;
      if (legend && [...legend.shadow_el.querySelectorAll("canvas")].some(isBlank)) legend.request_paint();
    }
  }

  // Told only when the frame is through: a newer step of a slider has been sent by then, and is in the kernel before.
  report() {
    const n = this.asked;
    this.asked = null;
    if (n === null) return;
    requestAnimationFrame(() => setTimeout(() => {
      if (!this.ending.signal.aborted) this.model.send({type: "painted", n});
    }));
  }

  plots() {
    // Down the layout only: bokeh's own search goes through thousands of glyphs and ticks.
    const found = [], look = (view) => {
      if (view.frame && view.repaint) found.push(view);
      else for (const child of view.child_views ?? []) look(child);
    };
    for (const view of this.views ?? []) look(view);
    return found;
  }

  plotAt({x, y}) {
    return this.plots().find((plot) => {
      const r = plot.el.getBoundingClientRect();
      return x >= r.left && x < r.right && y >= r.top && y < r.bottom;
    });
  }

  figureAt(at) { return this.plotAt(at)?.model.name ?? ""; }

  // A hint and no more: it waits for no answer, no gesture waits for it, and a busy kernel is left alone.
  rest() {
    const plot = this.flight === null ? this.plotAt(this.pointer) : undefined;
    if (!plot) return;
    const at = plot.canvas_view.el.getBoundingClientRect(), sx = this.pointer.x - at.left, sy = this.pointer.y - at.top;
    if (!plot.frame.bbox.contains(sx, sy)) return;
    const x = plot.frame.x_scale.invert(sx), y = plot.frame.y_scale.invert(sy);
    this.model.send({type: "rest", view: this.id, figure: plot.model.name ?? "", x, y});
  }

  // ---- to the kernel --------------------------------------------------------------------------------------------
  changed(event) {
    if (event.sync === false || event.document !== this.document || LOCAL.has(event.attr)) return;
    const {kind, model} = event;
    const bokehEvent = kind === "MessageSent" ? event.msg_data : null;
    if (bokehEvent?.event_name === "document_ready") return;
    const name = bokehEvent && NEWEST.has(bokehEvent.event_name) ? bokehEvent.event_name : null;
    const item = {event, about: model ?? bokehEvent?.origin, key: kind === "ModelChanged" ? event.attr : name && `event ${name}`};
    // The newest value replaces one still waiting, but never jumps over another kind of change of the same model.
    for (let i = this.outbox.length - 1; item.key && i >= 0; i--) {
      const older = this.outbox[i];
      if (!older.event || (older.about === item.about && !older.key)) break;
      if (older.about === item.about && older.key === item.key) { this.outbox.splice(i, 1); break; }
    }
    this.put(item);
  }

  put(item) {
    this.outbox.push(item);
    if (!this.posting) { this.posting = true; queueMicrotask(() => { this.posting = false; this.post(); }); }
  }

  post() {
    if (!this.outbox.length) return;
    if (this.flight !== null) {
      if (performance.now() - this.left < PATIENCE_MS) return;
    }
    const items = this.outbox.splice(0), doc = this.document;
    let serializer = null;
    const encode = (event) => {
      if (!serializer) {
        const known = [...doc._all_models.values()].filter((m) => !doc._new_models.has(m));
        const {Serializer} = this.Bokeh.require("core/serialization");
        serializer = new Serializer({references: new Map(known.map((m) => [m, m.ref()]))});
      }
      return serializer.encode(event);
    };
    const body = JSON.stringify(items.map((item) => item.event ? encode(item.event) : item));
    if (serializer) doc._new_models.clear();
    this.flight = ++this.sent;
    this.left = performance.now();
    this.model.send({type: "events", view: this.id, seq: this.flight, body});
  }

  // ---- keys and gestures ----------------------------------------------------------------------------------------
  watchInput() {
    const {el} = this, {signal} = this.ending, early = {capture: true, signal};
    const wants = (kind) => this.model.get("wants").includes(kind);
    const end = (gesture, moved) => {
      // After the handlers of bokeh, which run on the same event.
      setTimeout(() => wants("gesture") && !signal.aborted &&
        this.put({kind: "Gesture", gesture, moved, figure: this.figureAt(this.pointer)}));
    };
    let down = null, wheel = 0;
    const typing = new Set();       // keys pressed inside and not yet released
    let resting = 0;
    el.addEventListener("pointerdown", (e) => {
      clearTimeout(resting);
      down = {x: e.clientX, y: e.clientY};
      this.pointer = down;
      const at = e.composedPath()[0];
      if (!el.contains(document.activeElement) && !isField(at)) el.focus({preventScroll: true});
    }, early);
    el.addEventListener("pointermove", (e) => {
      this.pointer = {x: e.clientX, y: e.clientY};
      clearTimeout(resting);
      if (!e.buttons && wants("rest")) resting = setTimeout(() => this.rest(), REST_MS);
    }, {...early, passive: true});
    el.addEventListener("pointerleave", () => clearTimeout(resting), {signal});
    this.ending.signal.addEventListener("abort", () => clearTimeout(resting));
    for (const name of ["pointerup", "pointercancel"]) {
      window.addEventListener(name, (e) => {
        if (!down) return;
        const moved = Math.hypot(e.clientX - down.x, e.clientY - down.y) > 2;
        down = null;
        end("pointer", moved);
      }, early);
    }
    el.addEventListener("wheel", () => { clearTimeout(wheel); wheel = setTimeout(() => end("wheel", true), 250); },
      {...early, passive: true});
    // On the window, so that the notebook's command-mode shortcuts (x cuts the cell!) never see these keys.
    window.addEventListener("keydown", (e) => {
      const path = e.composedPath(), at = path[0];
      if (!path.includes(el) || e.ctrlKey || e.metaKey || e.altKey || e.key === "Tab" || MODIFIERS.has(e.key)) return;
      if (isField(at)) {
        // Sliders and menus keep their arrow keys: the notebook would take them as moves between cells.
        if (isChooser(at)) e.stopPropagation();
        return;
      }
      e.preventDefault();
      if (at.tagName === "BUTTON" && (e.key === "Enter" || e.key === " ")) { at.click(); return; }
      typing.add(e.key);
      if (!wants("key")) return;
      const last = this.outbox[this.outbox.length - 1];
      if (e.repeat && last?.kind === "Key" && last.key === e.key && last.repeat) return;
      this.put({kind: "Key", key: e.key, shift: e.shiftKey, repeat: e.repeat, figure: this.figureAt(this.pointer)});
    }, early);
    window.addEventListener("keyup", (e) => {
      // Shift may have changed the name of the key since it went down.
      if (typing.delete(e.key) || typing.delete(e.key.toLowerCase()) || typing.delete(e.key.toUpperCase())) end("key", false);
    }, early);
  }

  // ---- pictures -------------------------------------------------------------------------------------------------
  async draw({figure, kind, request, filename}) {
    try {
      const blob = await this.picture(figure, kind);
      if (filename) {
        const link = document.createElement("a");
        link.href = URL.createObjectURL(blob);
        link.download = filename;
        link.click();
        setTimeout(() => URL.revokeObjectURL(link.href), 10000);
      }
      if (request) this.model.send({type: "image", request}, undefined, [await blob.arrayBuffer()]);
    } catch (error) {
      this.model.send({type: "image", request, error: String(error?.message ?? error)});
    }
  }

  async picture(figure, kind) {
    // A figure that came into the document just now is still being built.
    let view = null;
    const ready = () => (view = this.views?.find_one_by_id(figure)) && (view._render_count ?? 1) > 0;
    for (let i = 0; i < 100 && !ready(); i++) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    if (!view) throw new Error("the figure is not on the page");
    return view.export(kind).to_blob();
  }

  // ---- looks ----------------------------------------------------------------------------------------------------
  watchTheme() {
    const system = window.matchMedia("(prefers-color-scheme: dark)");
    const look = () => {
      const said = document.body.dataset.jpThemeLight;
      const dark = said === undefined ? paperIsDark(system.matches) : said === "false";
      if (dark === this.model.get("dark")) return;
      this.model.set("dark", dark);
      this.model.save_changes();
    };
    const observer = new MutationObserver(look);
    observer.observe(document.body, {attributes: true, attributeFilter: ["data-jp-theme-light", "data-jp-theme-name"]});
    system.addEventListener("change", look, {signal: this.ending.signal});
    this.ending.signal.addEventListener("abort", () => observer.disconnect());
    look();
  }

  showLabel() { this.el.setAttribute("aria-label", this.model.get("label")); }

  showError(text = this.model.get("error")) {
    const words = document.createElement("span"), dismiss = document.createElement("button");
    words.textContent = text;
    dismiss.textContent = "Dismiss";
    dismiss.addEventListener("click", () => { this.model.set("error", ""); this.model.save_changes(); this.showError(""); });
    this.error.hidden = !text;
    this.error.replaceChildren(words, dismiss);
  }

  start() {
    this.load().catch((error) => {
      if (!this.ending.signal.aborted) this.showError(`The plots cannot be shown: ${error?.message ?? error}`);
    });
  }

  close() {
    this.ending.abort();
    this.soon.port1.close();
    this.generation++;
    this.drop();
    shared.panes.delete(this);
    try { this.model.send({type: "leave", view: this.id}); } catch { /* the kernel's part is gone already */ }
  }
}

const isChooser = (el) => el.tagName === "SELECT" || (el.tagName === "INPUT" && ["range", "checkbox", "radio"].includes(el.type));
const isField = (el) => ["INPUT", "TEXTAREA", "SELECT"].includes(el.tagName) || el.isContentEditable;

// Voilà's own templates do not say which theme they show: look at the paper, then at the system.
function paperIsDark(fallback) {
  const paper = getComputedStyle(document.body).getPropertyValue("--jp-layout-color0").trim() ||
    getComputedStyle(document.body).backgroundColor;
  const probe = document.createElement("canvas").getContext("2d");
  if (!paper || paper === "transparent" || paper === "rgba(0, 0, 0, 0)") return fallback;
  probe.fillStyle = paper;
  probe.fillRect(0, 0, 1, 1);
  const [r, g, b] = probe.getImageData(0, 0, 1, 1).data;
  return 0.299 * r + 0.587 * g + 0.114 * b < 128;
}

export default {
  render({model, el}) {
    const view = new PaneView(model, el);
    view.start();
    return () => view.close();
  },
};
