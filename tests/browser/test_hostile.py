"""A catalogue whose every text is an attack: shown as text in every panel, tool-tip and export, in Lab and in Voilà."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from browser import Browser
from conftest import ROOT
from workbench_page import FIGURES, deep_text, tooltip, until_same

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.browser

IMAGE = '<img src=x onerror="window.hacked=1">'
SCRIPT = "<script>window.hacked=1</script>"
SVG = '"><svg onload="window.hacked=1">'
MATH = r"$$\href{javascript:window.hacked=1}{x}$$"
STYLE = "</style></text><style onload='window.hacked=1'>"
#: Short enough for a colour bar: text, not a formula that would have a typesetter loaded from elsewhere.
FORMULA = "$$x^2$$"
ATTACKS = [IMAGE, SCRIPT, SVG, MATH, STYLE]

CATALOGUE = f"""
import numpy as np
from sc_lab.mock import make_population
from sc_lab_widgets import Workbench
attacks = {ATTACKS!r}
table = make_population(n=240, rng=1).catalog
table.meta = {{}}
for name in ("id", "field", "system", "image"):
    table[name] = [f"{{attacks[i % 5]}} {{name}}{{i // 5 if name in ('id', 'system') else ''}}" for i in range(240)]
table["field"][:40] = {FORMULA!r}
place = {IMAGE!r}.replace("/", "") + ".ecsv"
table.write(place, format="ascii.ecsv")
wb = Workbench(place)
"""
#: One clump of each attack is selected, annotated and excluded, each with an attack for its reason.
EDITS = """
rows = [int(np.flatnonzero(wb.population.candidate & (np.arange(240) % 5 == k))[0]) for k in range(5)]
names = [wb.population.ids[row] for row in rows]
for name, attack in zip(names, attacks):
    wb.session.do("note", id=name, text=attack)
    wb.session.do("exclude", ids=[name], reason=attack)
"""


@pytest.fixture(scope="module", params=["lab", "voila"])
def attacked(chromium: str, request: pytest.FixtureRequest) -> Iterator[Browser]:
    """Return a page that shows the hostile catalogue, with its excluded clumps in the table."""
    with Browser(request.param, size=(1600, 1300), env={"PYTHONPATH": f"{ROOT}:{ROOT / 'widgets'}"}) as page:
        page.dialogs = []
        page.page.on("dialog", lambda dialog: (page.dialogs.append(dialog.message), dialog.dismiss()))
        show = "wb.controls.show.value = 'excluded'\nwb.select(names[:1])\nwb"
        page.run([CATALOGUE, EDITS, show], figures=len(FIGURES))
        yield page


def test_colour_bar_takes_formulas_as_text(attacked: Browser) -> None:
    """A field called like a formula is drawn as its letters; nothing is fetched to typeset it."""
    kinds = attacked.js(
        """() => [...[...__scLab.panes][0].views.query((v) => v.model.type === 'ColorBar')].flatMap((v) =>
        [...v.model.major_label_overrides.values()].map((label) => typeof label === 'string' ? label : label.type))"""
    )
    assert kinds
    assert set(kinds) == {"PlainText"}
    assert attacked.js("() => typeof window.MathJax === 'undefined' || !document.querySelector('script[src*=mathjax]')")


def unharmed(page: Browser) -> None:
    """Fail if anything of the catalogue ran, opened a dialog, or became an element."""
    page.pause(0.3)
    assert page.js("() => window.hacked ?? null") is None
    assert page.dialogs == []
    made = page.js(
        """() => { let n = 0; (function look(root) { for (const e of root.querySelectorAll('*')) {
        if (e.matches('img[src="x"], svg[onload], style[onload], [onerror], a[href^="javascript"]')) n++;
        if (e.matches('script') && e.textContent === 'window.hacked=1') n++;
        if (e.shadowRoot) look(e.shadowRoot); } })(document); return n; }"""
    )
    assert made == 0, "text of the catalogue became elements of the page"


def test_table_details_and_bars_show_the_attacks_as_text(attacked: Browser) -> None:
    """Table cells and the details box spell the attacks out; nothing of them runs."""
    cells = " ".join(deep_text(attacked, ".slick-cell"))
    for attack in (IMAGE, SCRIPT, SVG, MATH):
        assert attack in cells
    details = attacked.page.locator(".sclab-workbench th", has_text="excluded because").locator("xpath=../td")
    assert details.inner_text() == IMAGE
    note = attacked.page.locator(".sclab-workbench th", has_text="note").locator("xpath=../td")
    assert note.inner_text() == IMAGE
    unharmed(attacked)


def test_tool_tips_show_the_attacks_as_text(attacked: Browser) -> None:
    """Hovering over a clump of each attack spells its name and field out."""
    source = (
        "() => __probe.plot('size_magnitude').model.renderers.find((r) => r.data_source?.name === 'clumps').data_source"
    )
    get = "(d, c) => [...(d.data.get?.(c) ?? d.data[c])]"
    names, magnitude, radius = attacked.js(
        f"() => {{ const d = ({source})(); return ['id', 'magnitude', 'r_eff'].map((c) => ({get})(d, c)); }}"
    )
    frame = attacked.js(
        "() => { const m = __probe.plot('size_magnitude').model; return [m.x_range.end, m.x_range.start, "
        "m.y_range.start, m.y_range.end]; }"
    )
    seen = set()
    # Those that stand alone first: under a pointer on a crowd it is others that are named.
    places = np.column_stack([magnitude, 5 * np.log(np.array(radius, dtype=float))])
    apart = np.sort(np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1)), axis=1)[:, 1]
    for row in np.argsort(-apart).tolist():
        name, x, y = names[row], magnitude[row], radius[row]
        attack = next(a for a in ATTACKS if name.startswith(a))
        inside = frame[0] + 0.5 < x < frame[1] - 0.5 and frame[2] * 1.2 < y < frame[3] / 1.2
        if attack in seen or not inside:
            continue
        attacked.hover("size_magnitude", x, y)
        text = tooltip(attacked)
        if attack in text:
            seen.add(attack)
        unharmed(attacked)
        if len(seen) == len(ATTACKS):
            break
    assert seen == set(ATTACKS)


def test_clicking_a_hostile_clump_selects_it(attacked: Browser) -> None:
    """The clump can be selected like any other, and the box beside the plots names it."""
    row, name, x, y = attacked.js(
        """() => { const m = __probe.plot('size_magnitude').model, r = m.renderers, f = m.x_range;
        const d = r.find((q) => q.data_source?.name === 'candidates').data_source.data;
        const get = (s, c) => [...(s.get?.(c) ?? s[c])];
        const rows = get(d, 'row'), x = get(d, 'magnitude'), y = get(d, 'r_eff');
        const names = get(r.find((q) => q.data_source?.name === 'clumps').data_source.data, 'id');
        let best = 0, far = -1;
        for (let i = 0; i < rows.length; i++) {
          if (x[i] < f.end + 1 || x[i] > f.start - 1) continue;
          const near = Math.min(...rows.map((_, k) => k === i ? 99 : Math.hypot(x[k] - x[i], 5 * Math.log(y[k] / y[i]))));
          if (near > far) { far = near; best = i; } }
        return [rows[best], names[rows[best]], x[best], y[best]]; }"""
    )
    attacked.tap("size_magnitude", x, y)
    until_same(attacked, "formation", "selected", [row])
    attacked.page.locator(".sclab-workbench td").filter(has_text=name).first.wait_for()
    unharmed(attacked)


def test_every_view_and_colouring_is_harmless(attacked: Browser) -> None:
    """Colour bars, legends, titles and axes of every view take the field names as text."""
    for view, n in {"histograms": 9, "density–size": 4, "overview": 7}.items():
        attacked.page.get_by_role("button", name=view, exact=True).click()
        attacked.wait_for(
            "(n) => __probe.plots().filter((p) => p.el.getBoundingClientRect().width > 200 && p._render_count).length === n",
            n,
        )
        unharmed(attacked)


# Voilà has no cell to type in; what is written there is what is written in Lab.
@pytest.mark.parametrize("attacked", ["lab"], indirect=True)
def test_pictures_and_tables_carry_no_live_script(attacked: Browser) -> None:
    """The SVG of the plane that is coloured by field has no script, handler or foreign object in it."""
    attacked.kernel_exec(
        "wb.save_plot('plane.svg', 'density_size'); wb.save_plot('plane.ecsv', 'density_size')\n"
        "wb.export('out.ecsv'); wb.export('out.vot'); wb.export('out.tex'); wb.export('out.reg')"
    )
    attacked.wait_for_kernel("__import__('os').path.exists('plane.svg')", 30)
    svg = (attacked.folder / "plane.svg").read_text()
    assert not re.search(r"<\s*(script|img|foreignobject|iframe|style\s+onload)", svg, re.IGNORECASE)
    assert not re.search(r"<[^>]+\son\w+\s*=", svg, re.IGNORECASE)
    assert not re.search(r"<a\b", svg)
    # A browser that opens the picture is the judge.
    page = attacked.context.new_page()
    try:
        page.goto((attacked.folder / "plane.svg").as_uri())
        assert page.evaluate("() => window.hacked ?? null") is None
        assert page.evaluate("() => document.documentElement.tagName") == "svg"
    finally:
        page.close()
    votable = (attacked.folder / "out.vot").read_text()
    assert "<script" not in votable
    assert "<img" not in votable
    assert attacked.kernel_eval("__import__('sc_lab.catalog').catalog.read_catalog('out.ecsv')['id'][0]").startswith(
        IMAGE
    )
    unharmed(attacked)


# Voilà has no cell to type in; what is written there is what is written in Lab.
@pytest.mark.parametrize("attacked", ["lab"], indirect=True)
def test_refusals_and_status_show_the_file_name_as_text(attacked: Browser) -> None:
    """An error that quotes the hostile name, and a project file of that name, are text too."""
    attacked.kernel_exec(f"try: wb.select([{IMAGE!r}])\nexcept Exception as error: wb.message.report(error)")
    attacked.page.get_by_role("alert").filter(has_text=IMAGE).wait_for()
    attacked.kernel_exec(
        f"from IPython.display import display\nother = Workbench(table, project={IMAGE!r}.replace('/', '') + '.sclab')"
    )
    status = attacked.kernel_eval("other._status.value")
    assert "<img" not in status
    assert "&lt;img" in status
    attacked.kernel_exec("other.close()")
    unharmed(attacked)
