"""What the tests of the workbench look at in the page, and how they bring it back to its start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from browser import Browser

__all__ = ["FIGURES", "START", "columns", "deep_text", "kernel_rows", "start_again", "tooltip", "until_same"]

#: The figures of the overview; the clump table is the eighth part.
FIGURES = (
    "gc_colours",
    "size_magnitude",
    "histogram",
    "density_size",
    "formation",
    "cumulative_schechter",
    "corner",
)
#: The four planes, in which a selected clump wears a ring.
PLANES = ("gc_colours", "size_magnitude", "density_size", "formation")
START = ["from sc_lab_widgets import Workbench", "wb = Workbench()\nwb"]

_COLUMN = """([figure, source, column]) => {
  const found = __probe.plot(figure)?.model.renderers.find((r) => r.data_source?.name === source);
  if (!found) return null;
  const data = found.data_source.data;
  return [...(data.get?.(column) ?? data[column] ?? [])]; }"""

# Text and computed colours behind every shadow root, which a plain query does not enter.
_DEEP = """(selector) => { const out = []; (function look(root) { for (const e of root.querySelectorAll('*')) {
  if (e.matches(selector) && e.getClientRects().length) out.push(e.shadowRoot?.textContent || e.textContent);
  if (e.shadowRoot) look(e.shadowRoot); } })(document); return out; }"""


def columns(page: Browser, figure: str, source: str, column: str) -> list[Any]:
    """Return a column that the browser holds, by the name of its source."""
    return list(page.js(_COLUMN, [figure, source, column]) or [])


def kernel_rows(page: Browser, flag: str) -> list[int]:
    """Return the rows for which an attribute of the kernel's population is true."""
    return list(page.kernel_eval(f"wb.population.{flag}.nonzero()[0].tolist()"))


def until_same(page: Browser, figure: str, source: str, rows: list[int], limit: float = 20) -> None:
    """Wait until the browser shows exactly these rows in one layer of a figure."""
    expected = "[" + ",".join(map(str, rows)) + "]"
    page.wait_for(
        f"([f, s, c, rows]) => JSON.stringify(({_COLUMN})([f, s, c])) === rows",
        [figure, source, "row", expected],
        limit,
    )


def deep_text(page: Browser, selector: str) -> list[str]:
    """Return the text of all visible elements that match, in every shadow root."""
    return list(page.js(_DEEP, selector))


def tooltip(page: Browser, limit: float = 10) -> str:
    """Wait for the tool-tip of a figure and return its text."""
    page.wait_for(f"() => ({_DEEP})('.bk-Tooltip').some((text) => text.trim())", None, limit)
    return " | ".join(deep_text(page, ".bk-Tooltip"))


def start_again(page: Browser) -> None:
    """Take every step back, select nothing, show the overview."""
    page.log.clear()
    page.kernel_exec(
        "wb.controls.view.value = 'overview'\n"
        "wb.session.end_preview(commit=False)\n"
        "while wb.session.can_undo: wb.session.undo()\n"
        "wb.host.select([]); wb.message.show('')"
    )
    page.js("() => document.querySelector('.sc-lab-pane').scrollIntoView()")
    page.page.mouse.move(2, 2)
