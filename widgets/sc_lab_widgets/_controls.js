// Browser side of LiveSlider: a native range and a number box; one step under way at a time, only the newest waits.

const PATIENCE_MS = 20000;
let count = 0;

function written(value, format) {
  if (format === "d") return String(Math.round(value));
  const digits = Number(format.slice(1, -1));
  if (format.endsWith("f")) return value.toFixed(digits);
  if (format.endsWith("e")) return value.toExponential(digits);
  // Like Python's g: significant digits without trailing zeros, exponents for very large and very small numbers.
  const plain = Number(value.toPrecision(Math.max(digits, 1)));
  const size = plain === 0 ? 0 : Math.floor(Math.log10(Math.abs(plain)));
  return size < -4 || size >= Math.max(digits, 1) ? plain.toExponential() : String(plain);
}

const make = (tag, attributes = {}) => {
  const el = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) el.setAttribute(name, value);
  return el;
};

function render({model, el}) {
  const ending = new AbortController(), {signal} = ending;
  const view = Math.random().toString(36).slice(2) + (++count);
  const get = (name) => model.get(name);
  const label = make("label", {for: `${view}-range`, class: "sc-lab-label"});
  const range = make("input", {type: "range", id: `${view}-range`});
  const number = make("input", {type: "text", inputmode: "decimal", autocomplete: "off", spellcheck: "false"});
  const unit = make("span", {class: "sc-lab-unit", "aria-hidden": "true"});
  const error = make("div", {class: "sc-lab-refusal", role: "alert"});
  el.classList.add("sc-lab-slider");
  el.append(label, range, number, unit, error);

  // The range itself always runs in whole steps, so that its arrow keys mean one step on either kind of scale.
  const place = (v) => get("log") ? Math.log10(v / get("min")) / get("step") : (v - get("min")) / get("step");
  const whole = () => place(get("max"));
  const valueAt = (n) => {
    const v = get("log") ? get("min") * 10 ** (n * get("step")) : get("min") + n * get("step");
    return Math.min(get("max"), Math.max(get("min"), Number(v.toPrecision(12))));
  };
  let value = get("value"), held = false, waiting = [], flight = null, left = 0, seq = 0;

  const show = () => {
    const text = written(value, get("format"));
    range.value = place(value);
    range.setAttribute("aria-valuetext", get("unit") ? `${text} ${get("unit")}` : text);
    if (document.activeElement !== number || !number.dataset.editing) number.value = text;
    range.style.setProperty("--part", `${100 * place(value) / whole()}%`);
  };
  const refuse = (text) => { error.textContent = text; error.hidden = !text; };
  const dress = () => {
    label.textContent = get("label");
    unit.textContent = get("unit");
    el.title = get("hint");
    number.setAttribute("aria-label", [get("label"), get("unit")].filter(Boolean).join(", "));
    range.min = 0;
    range.max = whole();
    range.step = "any";
    range.disabled = number.disabled = get("disabled");
    value = get("value");
    show();
  };

  // ---- to the kernel --------------------------------------------------------------------------------------------
  const post = () => {
    if (!waiting.length || (flight !== null && performance.now() - left < PATIENCE_MS)) return;
    flight = ++seq;
    left = performance.now();
    model.send({type: "step", view, seq, ...waiting.shift()});
  };
  const go = (v, final) => {
    value = v;
    refuse("");
    // The page's copy of the model must know, or a later return to the old value would be no change and not be shown.
    model.set("value", v);
    show();
    // Only the newest waits, but the end of one drag is not swallowed by the start of the next.
    const last = waiting[waiting.length - 1];
    if (last && (final || !last.final)) waiting.pop();
    waiting.push({value: v, final});
    post();
  };
  const step = (n) => go(valueAt(Math.min(whole(), Math.max(0, Math.round(place(value) + n)))), true);

  // ---- pointer and keys -----------------------------------------------------------------------------------------
  const on = (target, name, f, more) => target.addEventListener(name, f, {signal, ...more});
  on(range, "pointerdown", () => { held = true; });
  on(range, "input", () => {
    const v = valueAt(Math.round(range.valueAsNumber));
    if (v !== value) go(v, !held); else show();
  });
  for (const name of ["pointerup", "pointercancel"]) {
    on(window, name, () => { if (held) { held = false; go(value, true); } }, {capture: true});
  }
  const WAYS = {ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10, Home: -Infinity, End: Infinity};
  // On the window: the notebook would take arrow keys as moves between its cells.
  on(window, "keydown", (e) => {
    const at = e.composedPath()[0];
    if ((at !== range && at !== number) || e.ctrlKey || e.metaKey || e.altKey) return;
    if (e.key === "Tab") return;
    e.stopPropagation();
    if (e.key in WAYS && (at === range || e.key === "ArrowUp" || e.key === "ArrowDown")) {
      e.preventDefault();
      delete number.dataset.editing;
      if (!get("disabled")) step(WAYS[e.key]);
    } else if (at === number && e.key === "Enter") {
      commit();
    } else if (at === number && e.key === "Escape") {
      delete number.dataset.editing;
      refuse("");
      show();
    }
  }, {capture: true});
  on(number, "input", () => { number.dataset.editing = "1"; });
  on(number, "blur", () => commit());
  const commit = () => {
    if (!number.dataset.editing) return;
    const v = Number(number.value.trim().replace(",", "."));
    delete number.dataset.editing;
    const ok = number.value.trim() !== "" && Number.isFinite(v) && v >= get("min") && v <= get("max");
    if (ok) { go(v, true); return; }
    const tail = get("unit") ? ` ${get("unit")}` : "";
    refuse(`“${number.value}” does not fit: give a number from ${get("min")} to ${get("max")}${tail}.`);
    show();
  };

  // ---- from the kernel ------------------------------------------------------------------------------------------
  const received = (message) => {
    if (message.type !== "ack") return;
    if (message.view === view) {
      if (message.seq === flight) flight = null;
    } else if (!held && !waiting.length) {
      value = message.value;
      show();
    }
    post();
  };
  const failed = () => refuse(get("error"));
  model.on("msg:custom", received);
  model.on("change:error", failed);
  const traits = ["value", "min", "max", "step", "label", "unit", "log", "format", "hint", "disabled"];
  for (const name of traits) model.on(`change:${name}`, dress);
  dress();
  failed();
  return () => {
    ending.abort();
    model.off("msg:custom", received);
    model.off("change:error", failed);
    for (const name of traits) model.off(`change:${name}`, dress);
  };
}

export default {render};
