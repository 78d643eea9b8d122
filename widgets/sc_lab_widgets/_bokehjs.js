// What we change in our own copy of BokehJS 3.9: overlays clipped, plain table heads, point dragging, less to do per paint.

function adapt(Bokeh) {
  // Glyphs with level="overlay" lie on a canvas of their own and are redrawn without the rest of the figure, which is
  // what makes a live layer over thousands of still points fast. Bokeh does not clip them to the frame: we do.
  const {GlyphRendererView} = Bokeh.require("models/renderers/glyph_renderer");
  Object.defineProperty(GlyphRendererView.prototype, "needs_clip", {get() { return this.model.level === "overlay"; }});
  // The head of a table column is text like its cells; bokeh would read it as HTML.
  const {TableColumn} = Bokeh.require("models/widgets/tables/table_column"), plain = TableColumn.prototype.toColumn;
  TableColumn.prototype.toColumn = function (...args) {
    const column = plain.apply(this, args), text = document.createElement("span");
    text.textContent = column.name;
    return {...column, name: text.innerHTML};
  };
}

// What bokeh 3.9 does at every change and every paint, and need not do for us: more than half of a slider's step.
function paintLess(Bokeh) {
  // It asks the style sheets for an override of each colour, width and font; our looks come from bokeh's theme.
  const {VisualProperties} = Bokeh.require("core/visuals/visual"), {PlotView} = Bokeh.require("models/plots/plot_canvas");
  VisualProperties.prototype._get_css_value = () => "";
  // It writes the place of every glyph and axis into a style sheet at every paint, the same as before, and the page then
  // works out its styles anew for the next text that is drawn.
  const {InlineStyleSheet} = Bokeh.require("core/dom"), write = InlineStyleSheet.prototype._update;
  InlineStyleSheet.prototype._update = function (css) { if (this.el.textContent !== css) write.call(this, css); };
  keepLayouts(Bokeh);
  // It strokes the outline of each text, also the one that has no colour.
  const {TextBox} = Bokeh.require("core/graphics"), text = TextBox.prototype.paint;
  TextBox.prototype.paint = function (ctx) {
    if (!/^(transparent|#[0-9a-f]{6}00|rgba\(.*, ?0\))$/i.test(this.outline_color ?? "transparent")) return text.call(this, ctx);
    ctx.strokeText = () => {};
    try { text.call(this, ctx); } finally { delete ctx.strokeText; }
  };
  // It asks the page for the size of the letters at each axis and legend, and the page lays itself out to answer. None of
  // ours changes it.
  const {get} = Object.getOwnPropertyDescriptor(PlotView.prototype, "base_font_size");
  Object.defineProperty(PlotView.prototype, "base_font_size", {get() { return this._letter ??= get.call(this); }});
  keepLegends(Bokeh);
  oneGlyphEach(Bokeh);
  hoverAtRest(Bokeh);
}

// Bokeh looks for what is under the pointer at each of its moves and after each paint, makes the text anew, and has the
// page lay itself out to place it: 15 ms, just when the pointer clicks. We wait until it rests.
function hoverAtRest(Bokeh) {
  const {HoverToolView} = Bokeh.require("models/tools/inspectors/hover_tool"), REST = 40, CALM = 150;
  const view = HoverToolView.prototype, signals = view.connect_signals, move = view._move, leave = view._move_exit;
  const later = (tool, wait, look) => {
    clearTimeout(tool._looking);
    tool._looking = setTimeout(() => { if (!tool.is_destroyed) look(); }, wait);
  };
  view.connect_signals = function () {
    const all = this.connect, painted = this.plot_view.repainted;
    this.connect = (signal, slot) => all.call(this, signal, signal === painted ? () => later(this, CALM, slot.bind(this)) : slot);
    try { signals.call(this); } finally { delete this.connect; }
  };
  view._move = function (ev) { later(this, REST, () => move.call(this, ev)); };
  view._move_exit = function () { clearTimeout(this._looking); leave.call(this); };
}

// Wherever the numbers of an axis become a pixel wider, bokeh lays out the whole document, measures the page and paints
// every figure: 30 to 50 ms of a click that takes 100.
function keepLayouts(Bokeh) {
  const {PlotView} = Bokeh.require("models/plots/plot_canvas"), {AxisView} = Bokeh.require("models/axes/axis");
  // An axis keeps the room it has had while it has not much too much of it: numbers come and go, the frame stands.
  const SPARE = 24, needed = AxisView.prototype.get_size;
  AxisView.prototype.get_size = function () {
    const size = needed.call(this), kept = this._room ?? 0;
    this._room = size.height > 0 && size.height <= kept && kept - size.height <= SPARE ? kept : size.height;
    return {...size, height: this._room};
  };
  const plot = PlotView.prototype, whole = plot._invalidate_layout_if_needed;
  plot._invalidate_layout_if_needed = function () {
    if (this._needs_layout) { whole.call(this); return; }
    // Bokeh measures every axis before every paint; what lies on the overlay canvas takes no room.
    if (!this._invalidate_all && this._invalidated_painters.size &&
      [...this._invalidated_painters].every((view) => view.model.level === "overlay")) return;
    const {frame_width, frame_height, match_aspect, side_panels} = this.model;
    // Room that moves between an axis and its frame concerns no other figure, where the frame takes what is left.
    if (frame_width !== null || frame_height !== null || match_aspect) { whole.call(this); return; }
    const views = side_panels.map((panel) => this.renderer_views.get(panel)).filter((view) => view);
    const moved = views.filter((view) => view.layout?.has_size_changed() ?? false);
    if (!moved.length) return;
    moved.forEach((view) => this.invalidate_painters(view));
    this._measure_layout();
    this._compute_layout();
    this.after_layout();
  };
}

// A legend listens to all that its items refer to, their data included, and is built, laid out and painted anew with
// each number that changes. Its entries depend on looks alone.
function keepLegends(Bokeh) {
  const {LegendView} = Bokeh.require("models/annotations/legend"), plain = LegendView.prototype.connect_signals;
  const {Signal0} = Bokeh.require("core/signaling"), never = new Signal0({}, "never");
  const data = ["models/sources/data_source", "models/sources/cds_view", "models/selections/selection"]
    .flatMap((name) => Object.values(Bokeh.require(name)));
  const isData = (model) => data.some((kind) => typeof kind === "function" && kind.prototype && model instanceof kind);
  LegendView.prototype.connect_signals = function () {
    const all = this.on_transitive_change;
    this.on_transitive_change = (property, then, options = {}) =>
      all.call(this, property, then, {...options, signal: (model) => isData(model) ? never : model.change});
    try { plain.call(this); } finally { delete this.on_transitive_change; }
  };
}

// Each glyph has four more for selected, other, muted and thinned-out points, and all five take each change. On the
// overlay, where what is selected has a layer of its own, one is enough.
function oneGlyphEach(Bokeh) {
  const {GlyphRendererView} = Bokeh.require("models/renderers/glyph_renderer");
  const {Indices} = Bokeh.require("core/types");
  const others = ["decimated_glyph", "selection_glyph", "nonselection_glyph", "muted_glyph"];
  const onOverlay = {
    async set_data(indices) {
      this.all_indices = this.model.view.indices;
      await this.glyph.set_data(this.model.data_source, this.all_indices, indices);
      await this.set_visuals();
      this._update_masked_indices();
      const n = this.all_indices.count;
      this.decimated = new Indices(n);
      for (let i = 0; i < n; i += this.plot_model.lod_factor) this.decimated.set(i);
      this.plot_view.invalidate_dataranges = true;
    },
    async set_visuals() {
      this.glyph.set_visuals(this.model.data_source, this.all_indices);
      this.glyph.after_visuals();
      await this.glyph.after_lazy_visuals();
    },
    map_data() { this.glyph.map_data(); },
  };
  const view = GlyphRendererView.prototype, whole = view._paint;
  for (const [name, short] of Object.entries(onOverlay)) {
    const plain = view[name];
    view[name] = function (...args) {
      return (this.model.level === "overlay" && !this.hover_glyph ? short : plain).apply(this, args);
    };
  }
  view._paint = function (ctx) {
    if (this.model.level !== "overlay" || this.hover_glyph) return whole.call(this, ctx);
    const kept = others.map((name) => this[name]);
    for (const name of others) this[name] = this.glyph;
    try { whole.call(this, ctx); } finally { others.forEach((name, i) => { this[name] = kept[i]; }); }
  };
}

// The points of a layer tagged "draggable" go along with the pointer, with no tool to choose first. The kernel hears of
// it once, when the pointer lets go.
function dragPoints(Bokeh) {
  const {GlyphRendererView} = Bokeh.require("models/renderers/glyph_renderer"), proto = GlyphRendererView.prototype;
  const REACH = 11;
  const isDraggable = (view) => view.model.visible && view.model.tags.includes("draggable");
  const nearest = (view, sx, sy) => {
    const {x, y} = view.glyph, {x_scale, y_scale} = view.coordinates;
    let found = null, least = REACH;
    for (let i = 0; i < (x?.length ?? 0); i++) {
      const d = Math.hypot(x_scale.compute(x[i]) - sx, y_scale.compute(y[i]) - sy);
      if (d <= least) [found, least] = [i, d];
    }
    return found;
  };
  const put = (view, i, ev, sync) => {
    const {model, coordinates} = view;
    const at = {x: coordinates.x_scale.invert(ev.sx), y: coordinates.y_scale.invert(ev.sy)};
    model.data_source.patch(new Map(["x", "y"].map((axis) => [model.glyph[axis].field, [[i, at[axis]]]])), {sync});
  };
  proto.interactive_hit = function (sx, sy) { return isDraggable(this) && nearest(this, sx, sy) !== null; };
  proto.on_pan_start = function (ev) {
    this.dragged = isDraggable(this) ? nearest(this, ev.sx, ev.sy) : null;
    return this.dragged !== null;
  };
  proto.on_pan = function (ev) { put(this, this.dragged, ev, false); };
  proto.on_pan_end = function (ev) { put(this, this.dragged, ev, true); this.dragged = null; };
  proto.cursor = function (sx, sy) { return this.interactive_hit(sx, sy) ? "move" : null; };
}

