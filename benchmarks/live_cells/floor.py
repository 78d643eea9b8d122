"""The floor: a slider step goes to Python, which moves one point in each of seven figures; nothing else happens."""

# ruff: noqa: F821 - COUNT is set by the cell before
# %%
import ipywidgets as ui
from bokeh.layouts import column
from bokeh.models import ColumnDataSource
from sc_lab_widgets._controls import LiveSlider
from sc_lab_widgets._figures import new_figure, side_by_side
from sc_lab_widgets._pane import BokehPane

sources, figures = [], []
for i in range(COUNT):
    source = ColumnDataSource({"x": [0.5], "y": [0.5]})
    plot = new_figure(f"floor{i + 1}", f"figure {i + 1}", "x", "y", x_range=(0, 1), y_range=(0, 1))
    plot.scatter("x", "y", source=source, size=6)
    sources.append(source)
    figures.append(plot)

pane = BokehPane(column(side_by_side(figures), sizing_mode="stretch_width"))
slider = LiveSlider(value=50.0, min=0.0, max=100.0, step=1.0, label="echo")


def move(value, _final):
    with pane.hold():
        for source in sources:
            source.data = {"x": [value / 100], "y": [0.5]}


slider.on_change(move)
ui.HBox([ui.VBox([slider], layout={"width": "330px"}), ui.VBox([pane], layout={"flex": "1 1 0", "min_width": "0"})])
