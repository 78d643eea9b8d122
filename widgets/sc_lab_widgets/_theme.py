"""Bokeh themes for a light and a dark JupyterLab, and the style sheet that lets tables follow them."""

from __future__ import annotations

from typing import Any, Final

from bokeh.themes import Theme

__all__ = ["DARK", "LIGHT", "TABLE_STYLESHEET", "theme"]


def _make(paper: str, ink: str, faint: str, line: str) -> Theme:
    """Build a theme from four colours: background, text, grid lines, axis lines."""
    attrs: dict[str, dict[str, Any]] = {
        # Opaque paper: an exported picture keeps the look it had on screen.
        "Plot": {
            "background_fill_color": paper,
            "border_fill_color": paper,
            "outline_line_color": line,
            "outline_line_width": 1,
        },
        "Grid": {"grid_line_color": faint},
        "Axis": {
            "axis_line_color": line,
            "major_tick_line_color": line,
            "minor_tick_line_color": line,
            "major_label_text_color": ink,
            "axis_label_text_color": ink,
            "axis_label_text_font_style": "normal",
            "axis_label_text_font_size": "12px",
            "major_label_text_font_size": "11px",
            "axis_label_standoff": 4,
        },
        "Title": {"text_color": ink, "text_font_size": "12px", "text_font_style": "bold"},
        "Label": {"text_color": ink, "text_font_size": "11px"},
        "Legend": {
            "label_text_color": ink,
            "label_text_font_size": "11px",
            "background_fill_color": paper,
            "background_fill_alpha": 0.8,
            "border_line_color": line,
        },
        "BaseColorBar": {
            "title_text_color": ink,
            "major_label_text_color": ink,
            "background_fill_color": paper,
            "major_label_text_font_size": "11px",
            "title_text_font_size": "11px",
        },
    }
    return Theme(json={"attrs": attrs})


# The papers are JupyterLab's own cell backgrounds, so that figures do not sit in boxes.
LIGHT: Final = _make(paper="#ffffff", ink="#212121", faint="#e6e6e6", line="#757575")
DARK: Final = _make(paper="#111111", ink="#e0e0e0", faint="#2f2f2f", line="#9e9e9e")


def theme(*, dark: bool) -> Theme:
    """Theme of the figures for the notebook's present theme."""
    return DARK if dark else LIGHT


# Custom properties of the page reach into shadow roots, so one sheet serves both themes.
TABLE_STYLESHEET: Final = """
:host {
  --sc-paper: var(--jp-layout-color0, #fff); --sc-band: var(--jp-layout-color1, #f5f5f5);
  --sc-head: var(--jp-layout-color2, #eee); --sc-ink: var(--jp-ui-font-color1, #212121);
  --sc-line: var(--jp-border-color2, #ddd); --sc-mark: var(--jp-brand-color1, #1976d2);
  color: var(--sc-ink); background: var(--sc-paper); font-size: 12px;
}
.slick-header, .slick-header-columns, .slick-header-column, .bk-cell-index {
  background: var(--sc-head); color: var(--sc-ink); border-color: var(--sc-line);
}
.slick-viewport, .grid-canvas, .slick-row, .slick-row .slick-cell {
  background: var(--sc-paper); color: var(--sc-ink); border-color: var(--sc-line);
}
.slick-row.odd, .slick-row.odd .slick-cell { background: var(--sc-band); }
.slick-row:hover .slick-cell { background: var(--sc-head); }
.slick-row .slick-cell.selected, .slick-row.odd .slick-cell.selected, .slick-row:hover .slick-cell.selected {
  background: color-mix(in srgb, var(--sc-mark) 35%, var(--sc-paper)); color: var(--sc-ink);
}
.slick-cell.active { border: 1px solid var(--sc-mark); }
"""
