"""What the pane and the live slider promise, seen in a real browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from browser import Browser

pytestmark = pytest.mark.browser

SETUP = """
import ipywidgets as W
import numpy as np
from bokeh.events import Tap
from bokeh.layouts import column, gridplot, row
from bokeh.models import ColumnDataSource, DataTable, HoverTool, PointDrawTool, TableColumn
from bokeh.plotting import figure
from sc_lab_widgets._controls import LiveSlider
from sc_lab_widgets._pane import BokehPane
from sc_lab_widgets._theme import TABLE_STYLESHEET

def make(name, tools="tap,box_select,reset", **more):
    return figure(name=name, width=380, height=260, x_range=(0, 10), y_range=(0, 10), tools=tools,
                  toolbar_location=None, **more)
"""

PLOTS = """
log = []
source = ColumnDataSource(dict(x=[1.0, 2.0], y=[2.0, 3.0]))
a, b = make("a"), make("b")
a.scatter("x", "y", source=source, size=9)
b.scatter("y", "x", source=source, size=9)
pane = BokehPane(row(a, b), label="two plots")
slider = LiveSlider(5, 1, 10, 0.5, "size", "pc")
"""

WIRES = """
def moved(value, final):
    log.append([value, final])
    source.data["x"] = [value, value]
    pane.flush()

slider.on_change(moved)
late = a.on_event(Tap, lambda event: log.append(["tap", round(event.x)]))
source.selected.on_change("indices", lambda attr, old, new: log.append(["selected", sorted(new)]))
pane.on_key(lambda key: log.append(["key", key.name, key.shift, key.figure]))
pane.on_gesture_end(lambda gesture: log.append(["end", gesture.kind, gesture.moved]))
"""

SHOW = "W.VBox([slider, pane])"


def _fill(lab: Browser, *cells: str, figures: int = 2) -> Browser:
    lab.log.clear()
    return lab.run([SETUP, *cells], figures=figures)


def _logged(lab: Browser, n: int) -> list[list[object]]:
    lab.wait_for_kernel(f"len(log) >= {n}")
    return list(lab.kernel_eval("log"))


def test_every_input_reaches_python_once_and_in_order(lab: Browser) -> None:
    """A tap, a box selection and their ends come once each, although on_event was registered after attachment."""
    _fill(lab, PLOTS, WIRES, SHOW)
    lab.tap("a", 5, 2)
    assert _logged(lab, 2) == [["tap", 5], ["end", "pointer", False]]
    lab.activate("a", "BoxSelectTool")
    lab.drag("a", (0.5, 0.5), (6, 6))
    assert _logged(lab, 4)[2:] == [["selected", [0, 1]], ["end", "pointer", True]]
    lab.pause(0.3)
    assert len(lab.kernel_eval("log")) == 4
    assert lab.errors() == []


def test_keys_reach_python_and_never_the_notebook(lab: Browser) -> None:
    """Keys that JupyterLab knows as commands (x cuts the cell) leave the notebook alone."""
    _fill(lab, PLOTS, WIRES, SHOW)
    cells = "() => window.jupyterapp.shell.currentWidget.content.widgets.length"
    before = lab.js(cells)
    lab.hover("b", 5, 5)
    lab.js("() => document.querySelector('.sc-lab-pane').focus()")
    for key in ("x", "Shift+U", "Delete", "]", "Escape", "ArrowDown", "?", "a", "d", "d"):
        lab.press(key)
    lab.wait_for_kernel("sum(entry[0] == 'key' for entry in log) == 10")
    keys = [entry[1:] for entry in lab.kernel_eval("log") if entry[0] == "key"]
    assert keys[0] == ["x", False, "b"]
    assert keys[1] == ["U", True, "b"]
    assert [key[0] for key in keys[2:]] == ["Delete", "]", "Escape", "ArrowDown", "?", "a", "d", "d"]
    assert lab.js(cells) == before
    lab.press("Tab")
    assert not lab.js("() => document.activeElement.classList.contains('sc-lab-pane')"), "Tab must lead on"


def test_pane_says_its_name_to_screen_readers(lab: Browser) -> None:
    """The pane is a focusable group with a label."""
    _fill(lab, PLOTS, SHOW)
    assert lab.page.get_by_role("group", name="two plots").count() == 1
    assert lab.js("() => document.querySelector('.sc-lab-pane').tabIndex") == 0


def test_one_callback_leaves_as_one_message(lab: Browser) -> None:
    """Several sources and titles changed in one callback are one message to the browser."""
    _fill(
        lab,
        PLOTS,
        """
messages = []
plain = pane.send
def send(content, buffers=None):
    # A bare acknowledgement carries no data.
    if content["type"] == "patch" and buffers:
        messages.append(content)
    plain(content, buffers)
pane.send = send
def many(value, final):
    source.data = dict(x=[value, value], y=[1.0, 1.0])
    source.data["y"] = np.array([value, 4.0])
    b.title.text = a.title.text = f"now {value}"
slider.on_change(many)
""",
        SHOW,
    )
    lab.slider("size").focus()
    lab.press("ArrowRight")
    lab.wait_for("() => __probe.plot('a').model.title.text === 'now 5.5'")
    assert lab.source("b") == {"x": [5.5, 5.5], "y": [5.5, 4.0]}
    assert lab.kernel_eval("len(messages)") == 1


def test_drag_previews_live_and_commits_once(lab: Browser) -> None:
    """While the handle moves every value is a preview; the release gives exactly one final value."""
    _fill(lab, PLOTS, WIRES, SHOW)
    lab.drag_slider("size", [0.45 + i / 40 for i in range(12)], pause=0.04)
    lab.wait_for_kernel("log and log[-1][1] is True")
    finals = [final for _, final in lab.kernel_eval("[entry for entry in log if isinstance(entry[0], float)]")]
    assert finals.count(True) == 1
    assert finals[-1] is True
    assert len(finals) > 4
    assert lab.kernel_eval("slider.dragging") is False


def test_busy_kernel_gets_only_the_newest_value(lab: Browser) -> None:
    """Twenty fast keys against a slow callback lead to few calls, the last of them with the last value."""
    _fill(
        lab,
        PLOTS,
        "import time\nslider.on_change(lambda value, final: (time.sleep(0.25), log.append([value, final])))",
        SHOW,
    )
    lab.slider("size").focus()
    lab.press("ArrowRight", times=8)
    lab.wait_for_kernel("log and log[-1][0] == 9.0")
    assert lab.kernel_eval("len(log)") < 8


def test_pointer_gestures_collapse_while_the_kernel_is_busy(lab: Browser) -> None:
    """Dragging a point against a slow callback ends at the place of release, in few calls."""
    _fill(
        lab,
        """
import time
log = []
source = ColumnDataSource(dict(x=[2.0], y=[2.0]))
a = make("a", tools="")
tool = PointDrawTool(renderers=[a.scatter("x", "y", source=source, size=15)], add=False)
a.add_tools(tool)
a.toolbar.active_tap = tool
source.on_change("data", lambda attr, old, new: (time.sleep(0.2), log.append(float(new["x"][0]))))
pane = BokehPane(a)
pane.on_gesture_end(lambda gesture: log.append("end"))
pane
""",
        figures=1,
    )
    lab.activate("a", "PointDrawTool")
    lab.drag("a", (2, 2), (8, 8), steps=20, pause=0.02)
    lab.wait_for_kernel("log and log[-1] == 'end'")
    log = lab.kernel_eval("log")
    # One pixel is 0.03 data units.
    assert log[-2] == pytest.approx(8, abs=0.1)
    assert len(log) < 15


def test_error_of_a_callback_is_shown_as_text_and_can_be_dismissed(lab: Browser) -> None:
    """The words appear under the figures, unexecuted; the pane works on."""
    _fill(
        lab,
        PLOTS,
        WIRES,
        """
def fail(event):
    raise ValueError("<img src=x onerror='window.hurt=1'>")
b.on_event(Tap, fail)
""",
        SHOW,
    )
    lab.tap("b", 5, 5)
    box = lab.page.locator(".sc-lab-error")
    box.wait_for(state="visible")
    assert "ValueError: <img src=x" in box.inner_text()
    assert lab.js("() => window.hurt") is None
    lab.tap("a", 5, 2)
    assert ["tap", 5] in _logged(lab, 3)
    lab.page.get_by_role("button", name="Dismiss").click()
    box.wait_for(state="hidden")
    lab.wait_for_kernel("pane.error == ''")


def test_reload_shows_the_present_state_and_lives_on(lab: Browser) -> None:
    """After a reload of the page the figures stand as Python left them, and still answer."""
    _fill(lab, PLOTS, WIRES, SHOW)
    lab.kernel_exec("slider.value = 9.0")
    lab.wait_for(
        "() => __probe.plot('a').model.renderers[0].data_source.data.x?.[0] === 9 || "
        "__probe.plot('a').model.renderers[0].data_source.data.get?.('x')[0] === 9"
    )
    lab.command("docmanager:save")
    lab.pause(1)
    lab.reload().await_figures(2)
    assert lab.source("a")["x"] == [9, 9]
    lab.slider("size").focus()
    lab.press("ArrowLeft")
    lab.wait_for_kernel("log[-1] == [8.5, True]")
    lab.wait_for_kernel("list(source.data['x']) == [8.5, 8.5]")
    lab.pause(0.3)
    assert lab.source("a")["x"] == [8.5, 8.5]


def test_two_views_of_one_pane_stay_in_step(lab: Browser) -> None:
    """What is selected in one view is selected in the other; what Python changes shows in both."""
    _fill(lab, PLOTS, WIRES, SHOW, "pane", figures=4)
    lab.js("() => document.querySelector('.sc-lab-pane').scrollIntoView()")
    lab.activate("a", "BoxSelectTool")
    lab.drag("a", (0.5, 0.5), (6, 6))
    _logged(lab, 2)
    selected = """() => __probe.plots().filter((p) => p.model.name === 'a')
        .map((p) => [...p.model.renderers[0].data_source.selected.indices])"""
    lab.wait_for(f"() => JSON.stringify(({selected})()) === '[[0,1],[0,1]]'")
    lab.kernel_exec("source.data['x'] = [7.0, 7.0]")
    columns = """() => __probe.plots().filter((p) => p.model.name === 'a')
        .map((p) => { const d = p.model.renderers[0].data_source.data; return (d.get?.('x') ?? d.x)[0]; })"""
    lab.wait_for(f"() => JSON.stringify(({columns})()) === '[7,7]'")
    assert lab.kernel_eval("sum(entry[0] == 'selected' for entry in log)") == 1


def test_theme_follows_jupyterlab(lab: Browser) -> None:
    """Figures and tables turn dark and light with JupyterLab, readable in both."""
    _fill(
        lab,
        """
source = ColumnDataSource(dict(x=[1.0, 2.0], y=[2.0, 3.0]))
a = make("a")
a.scatter("x", "y", source=source)
table = DataTable(source=source, columns=[TableColumn(field="x", title="x")], width=200, height=150,
                  stylesheets=[TABLE_STYLESHEET])
pane = BokehPane(row(a, table))
pane
""",
        figures=1,
    )
    fill = "() => __probe.plot('a').model.background_fill_color"
    assert lab.js(fill) == "#ffffff"
    contrast = """() => { const cell = (function find(root) { for (const e of root.querySelectorAll('*')) {
        if (e.matches('.slick-cell')) return e; const inner = e.shadowRoot && find(e.shadowRoot); if (inner) return inner;
        } return null; })(document);
        const light = (c) => { const [r, g, b] = c.match(/[0-9.]+/g).map(Number); return .299 * r + .587 * g + .114 * b; };
        const style = getComputedStyle(cell); return light(style.color) - light(style.backgroundColor); }"""
    assert lab.js(contrast) < -100
    try:
        lab.theme(dark=True)
        lab.wait_for(f"() => ({fill})() === '#111111'")
        lab.await_figures(1)
        assert lab.js(contrast) > 100
    finally:
        lab.theme(dark=False)
    lab.wait_for(f"() => ({fill})() === '#ffffff'")


def test_running_a_cell_again_leaves_nothing_behind(lab: Browser) -> None:
    """Five runs that close what they replace leave one document in the page and no more widgets in the kernel."""
    app = (
        """
import gc
if "box" in globals():
    slider.close(), pane.close(), box.layout.close(), box.close()
"""
        + PLOTS
        + """
box = W.VBox([slider, pane])
box
"""
    )
    _fill(lab, app)
    count = "(gc.collect(), len(W.Widget._instances if hasattr(W.Widget, '_instances') else W.widgets.widget._instances))[1]"
    before = lab.kernel_eval(count)
    for _ in range(4):
        lab.run(figures=2)
    lab.pause(0.5)
    assert lab.kernel_eval(count) == before
    assert lab.js("() => [__scLab.panes.size, [...__scLab.panes][0].Bokeh.documents.length]") == [1, 1]
    assert lab.errors() == []


def test_worker_thread_may_update(lab: Browser) -> None:
    """Changes made in a thread arrive, those of one hold together."""
    _fill(
        lab,
        PLOTS,
        """
import threading
def work():
    for i in range(20):
        with pane.hold():
            source.data = dict(x=[float(i), float(i)], y=[1.0, 1.0])
            a.title.text = f"step {i}"
""",
        SHOW,
    )
    lab.kernel_exec("thread = threading.Thread(target=work); thread.start()")
    lab.wait_for("() => __probe.plot('a').model.title.text === 'step 19'")
    assert lab.source("a")["x"] == [19, 19]
    assert lab.kernel_eval("pane.error") == ""


def test_live_layer_leaves_the_still_layers_alone(lab: Browser) -> None:
    """Glyphs on the overlay level are redrawn, and clipped, without the rest of the figure: the way to be fast."""
    _fill(
        lab,
        """
still = ColumnDataSource(dict(x=np.linspace(0, 10, 500), y=np.linspace(0, 10, 500)))
live = ColumnDataSource(dict(x=[5.0], y=[5.0]))
a = make("a")
a.scatter("x", "y", source=still, size=4)
a.scatter("x", "y", source=live, size=12, level="overlay")
pane = BokehPane(a)
pane
""",
        figures=1,
    )
    lab.js(
        """() => { const v = __probe.plot('a').canvas_view; window.draws = {primary: 0, overlays: 0};
        for (const layer of ['primary', 'overlays']) { const plain = v[layer].prepare.bind(v[layer]);
          v[layer].prepare = () => { window.draws[layer]++; return plain(); }; } }"""
    )
    lab.kernel_exec("live.data = dict(x=[10.0], y=[10.0])")
    lab.wait_for("() => window.draws.overlays > 0")
    lab.pause(0.2)
    assert lab.js("() => window.draws") == {"primary": 0, "overlays": 1}
    # The marker sits on the corner of the frame: nothing of it may lie outside.
    outside = """() => { const p = __probe.plot('a'), c = p.canvas_view.overlays.canvas, f = p.frame.bbox;
        const r = c.width / p.bbox.width, d = c.getContext('2d').getImageData((f.right + 2) * r, 0, 10, c.height).data;
        return d.some((v) => v > 0); }"""
    assert lab.js(outside) is False


def test_pictures_come_as_png_and_as_vector_svg(lab: Browser, tmp_path: Path) -> None:
    """Python gets the bytes of a figure that is drawn on a canvas; the browser can save the file itself."""
    _fill(lab, PLOTS, SHOW)
    lab.kernel_exec(
        "a.title.text = 'some words'\npictures = {}\n"
        "pane.request_image(a, 'png', lambda content: pictures.update(png=content))\n"
        "pane.request_image(a, 'svg', lambda content: pictures.update(svg=content))\n"
        "pane.request_image(pane._root, 'svg', lambda content: pictures.update(row=content))"
    )
    lab.wait_for_kernel("len(pictures) == 3")
    assert lab.kernel_eval("pictures['png'][:8].hex()") == "89504e470d0a1a0a"
    for name in ("svg", "row"):
        svg = lab.kernel_eval(f"pictures[{name!r}].decode()")
        assert "<path" in svg
        assert "<text" in svg
        assert "some words" in svg
        assert "<image" not in svg
    with lab.page.expect_download() as download:
        lab.kernel_exec("pane.download(b, 'svg', 'plane.svg')")
    assert download.value.suggested_filename == "plane.svg"
    download.value.save_as(tmp_path / "plane.svg")
    assert "<path" in (tmp_path / "plane.svg").read_text()


HOSTILE = """
bad = "<img src=x onerror='window.hurt=1'><script>window.hurt=2</script>"
source = ColumnDataSource(dict(x=[5.0, 2.0], y=[5.0, 2.0], name=[bad, bad]))
a = make("a", tools="", title=bad)
a.scatter("x", "y", source=source, size=30, legend_label=bad)
a.add_tools(HoverTool(tooltips=[("name", "@name"), (bad, "@x")]))
a.xaxis.axis_label = bad
b = figure(name="b", width=380, height=260, x_range=[bad, "plain"], y_range=(0, 10), tools="", toolbar_location=None)
b.vbar(x=[bad, "plain"], top=[4, 5], width=0.5)
table = DataTable(source=source, columns=[TableColumn(field="name", title=bad), TableColumn(field="x", title="x")],
                  width=380, height=150, stylesheets=[TABLE_STYLESHEET])
pane = BokehPane(column(row(a, b), table), label=bad)
slider = LiveSlider(5, 1, 10, 0.5, bad, bad, hint=bad)
W.VBox([slider, pane])
"""


def test_text_of_a_catalogue_is_never_markup(lab: Browser) -> None:
    """HTML in titles, legends, factors, tool-tips, table cells and labels shows as text and does not run."""
    _fill(lab, HOSTILE)
    lab.hover("a", 5, 5)
    lab.page.get_by_text("<img src=x", exact=False).first.wait_for()
    lab.pause(0.5)
    tip = lab.js(
        """() => { const out = []; (function look(root) { for (const e of root.querySelectorAll('*')) {
        if (e.matches('.bk-Tooltip, .bk-tooltip-row-value')) out.push(e.shadowRoot?.textContent ?? e.textContent);
        if (e.shadowRoot) look(e.shadowRoot); } })(document); return out.join(' | '); }"""
    )
    assert "<img src=x" in tip
    cell = lab.js(
        """() => { let text = ''; (function look(root) { for (const e of root.querySelectorAll('*')) {
        if (e.matches('.slick-cell')) text += e.textContent; if (e.shadowRoot) look(e.shadowRoot); } })(document);
        return text; }"""
    )
    assert "<script>window.hurt=2</script>" in cell
    assert lab.js("() => window.hurt") is None


@pytest.mark.parametrize(
    ("feature", "code"),
    [
        ("HoverTool with a string of HTML", "a.add_tools(HoverTool(tooltips='<b>@name</b>'))"),
        ("HoverTool with {safe}", "a.add_tools(HoverTool(tooltips=[('name', '@name{safe}')]))"),
    ],
)
def test_known_ways_in_of_tool_tips(lab: Browser, feature: str, code: str) -> None:
    """Bokeh says which tool-tips take HTML: {safe} runs it, so our panels must never write it."""
    _fill(
        lab,
        f"""
bad = "<img src=x onerror='window.hurt=1'>"
source = ColumnDataSource(dict(x=[5.0], y=[5.0], name=[bad]))
a = make("a", tools="")
a.scatter("x", "y", source=source, size=30)
{code}
pane = BokehPane(a)
pane
""",
        figures=1,
    )
    lab.hover("a", 5, 5)
    lab.pause(0.7)
    assert (lab.js("() => window.hurt ?? null") is not None) is ("{safe}" in feature)


def test_number_box_commits_on_enter_and_refuses_in_words(lab: Browser) -> None:
    """A typed value inside the range is one final change; one outside is refused beside the slider."""
    _fill(lab, PLOTS, WIRES, SHOW)
    box = lab.page.get_by_role("textbox", name="size, pc")
    box.fill("7.25")
    lab.press("Enter")
    assert _logged(lab, 1)[0] == [7.25, True]
    box.fill("99")
    lab.press("Enter")
    refusal = lab.page.locator(".sc-lab-refusal")
    refusal.wait_for(state="visible")
    assert "1 to 10 pc" in refusal.inner_text()
    assert lab.kernel_eval("slider.value") == 7.25
    assert lab.slider("size").get_attribute("aria-valuetext") == "7.25 pc"


def test_python_moves_the_handle(lab: Browser) -> None:
    """A value given in Python is a final change and moves what the page shows."""
    _fill(lab, PLOTS, WIRES, SHOW)
    lab.kernel_exec("slider.value = 3.0")
    lab.wait_for("() => document.querySelector('.sc-lab-slider input[type=range]').ariaValueText === '3 pc'")
    assert lab.kernel_eval("log") == [[3.0, True]]


def test_other_front_ends_show_and_answer(other_app: Browser) -> None:
    """Notebook 7 and Voilà draw the figures, and a key on the slider comes back as a repaint."""
    _fill(other_app, PLOTS, WIRES, SHOW)
    other_app.slider("size").focus()
    other_app.arm(["a", "b"])
    other_app.press("ArrowRight")
    assert other_app.result()["complete"]
    assert other_app.source("a")["x"] == [5.5, 5.5]
    other_app.drag_slider("size", [0.5, 0.6, 0.7], pause=0.05)
    other_app.pause(0.5)
    # Half a step of the slider is 1/36 of its track.
    assert other_app.source("a")["x"][0] == pytest.approx(7.3, abs=0.5)


def test_a_pointer_that_rests_is_told_once_and_one_that_leaves_is_not(lab: Browser) -> None:
    """Python hears where the pointer stays, in data coordinates, before any click."""
    _fill(lab, PLOTS, "pane.on_rest(lambda rest: log.append([rest.figure, round(rest.x), round(rest.y)]))", SHOW)
    lab.hover("a", 5, 2)
    assert _logged(lab, 1) == [["a", 5, 2]]
    # In one go, so that no slow machine makes a rest of it.
    lab.js(
        """([clientX, clientY]) => {
        const pane = document.querySelector(".sc-lab-pane");
        for (const kind of ["pointermove", "pointerleave"]) pane.dispatchEvent(new PointerEvent(kind, {clientX, clientY}));
        }""",
        lab.pixel("b", 3, 7),
    )
    lab.pause(0.4)
    assert len(lab.kernel_eval("log")) == 1
    assert lab.errors() == []


def test_an_axis_takes_room_for_its_numbers_and_does_not_give_it_back_at_once(lab: Browser) -> None:
    """Longer numbers make the frame narrower, shorter ones leave it; the figure beside it is not painted anew."""
    _fill(lab, PLOTS, SHOW)
    frame = "(name) => { const p = __probe.plot(name); return [p.frame.bbox.left, p._render_count]; }"
    left, _ = lab.js(frame, "a")
    other, painted = lab.js(frame, "b")
    lab.kernel_exec("a.y_range.update(start=0, end=12345)")
    lab.wait_for(f"(left) => ({frame})('a')[0] > left + 5", left)
    lab.pause(0.3)
    wide, _ = lab.js(frame, "a")
    axis = lab.js("() => __probe.plot('a').axis_views.find((v) => v.dimension === 1).extents")
    assert wide >= round(axis["tick"] + axis["tick_label"] + axis["axis_label"])
    lab.kernel_exec("a.y_range.update(start=0, end=10)")
    lab.wait_for("() => __probe.plot('a').model.y_range.end === 10")
    lab.pause(0.3)
    assert lab.js(frame, "a")[0] == wide
    assert lab.js(frame, "b") == [other, painted]
