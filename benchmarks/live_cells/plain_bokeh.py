"""Plain bokeh: four scatter plots of one source in jupyter_bokeh; a slider's Python callback sends a uint8 column."""

# %%
import ipywidgets as ui
import numpy as np
from bokeh.io import output_notebook
from bokeh.layouts import gridplot
from bokeh.models import ColumnDataSource
from bokeh.plotting import figure
from bokeh.resources import INLINE
from bokeh.transform import linear_cmap
from jupyter_bokeh import BokehModel

output_notebook(resources=INLINE, hide_banner=True)
# %%
columns = dict(np.load("columns.npz"))
r_eff = 10.0 ** columns["log_r"]
source = ColumnDataSource({**columns, "small": (r_eff < 20).astype("u1")})
figures = []
for i, (x, y) in enumerate((("log_r", "log_s"), ("z_form", "log_s"), ("x", "y"), ("log_m", "log_r"))):
    plot = figure(width=330, height=300, name=f"plain{i + 1}", output_backend="canvas")
    colour = linear_cmap("small", ["#bbbbbb", "#d55e00"], 0, 1)
    plot.scatter(x, y, source=source, size=4, marker="square", color=colour, line_color=None, alpha=0.5)
    figures.append(plot)
slider = ui.FloatSlider(value=20, min=1, max=200, step=1, description="threshold", continuous_update=True)


def follow(change):
    source.data["small"] = (r_eff < change["new"]).astype("u1")


slider.observe(follow, "value")
ui.VBox([slider, BokehModel(gridplot([figures[:2], figures[2:]], toolbar_location=None))])
