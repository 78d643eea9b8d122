"""HoloViews link_selections: four linked plots (three planes, one histogram) whose selection a Panel slider changes."""

# %%
import holoviews as hv
import numpy as np
import pandas as pd
import panel as pn

hv.extension("bokeh", inline=True)
pn.extension(inline=True)
hv.renderer("bokeh").webgl = False
# %%
table = pd.DataFrame(dict(np.load("columns.npz")))
data = hv.Dataset(table)
small = hv.opts.Points(width=330, height=300, size=3)
points = [hv.Points(data, pair).opts(small) for pair in (["log_r", "log_s"], ["z_form", "log_s"], ["x", "y"])]
known = hv.Dataset(table[np.isfinite(table["log_m"])])
histogram = hv.operation.histogram(known, dimension="log_m", normed=False).opts(width=330, height=300)
link = hv.link_selections.instance()
plots = link(hv.Layout([*points, histogram]).cols(2))
slider = pn.widgets.FloatSlider(value=20, start=1, end=200, step=1, name="threshold")


def follow(event):
    link.selection_expr = hv.dim("log_r") < np.log10(event.new)


slider.param.watch(follow, "value")
pn.Column(slider, plots)
