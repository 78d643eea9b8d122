"""The same floor with stock parts: an ipywidgets slider, jupyter_bokeh, one point moved in each of seven figures."""

# ruff: noqa: F821 - COUNT is set by the cell before
# %%
import ipywidgets as ui
from bokeh.io import output_notebook
from bokeh.layouts import gridplot
from bokeh.models import ColumnDataSource
from bokeh.plotting import figure
from bokeh.resources import INLINE
from jupyter_bokeh import BokehModel

output_notebook(resources=INLINE, hide_banner=True)
# %%
sources, figures = [], []
for i in range(COUNT):
    source = ColumnDataSource({"x": [0.5], "y": [0.5]})
    plot = figure(name=f"stock{i + 1}", title=f"figure {i + 1}", width=430, height=300, x_range=(0, 1), y_range=(0, 1))
    plot.scatter("x", "y", source=source, size=6)
    sources.append(source)
    figures.append(plot)
slider = ui.FloatSlider(value=50, min=0, max=100, step=1, description="echo", continuous_update=True)


def move(change):
    for source in sources:
        source.data = {"x": [change["new"] / 100], "y": [0.5]}


slider.observe(move, "value")
ui.VBox([slider, BokehModel(gridplot(figures, ncols=3, toolbar_location=None))])
