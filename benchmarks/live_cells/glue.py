"""glue-jupyter: four linked viewers (three planes, one histogram) with a subset that a slider changes."""

# %%
import glue_jupyter
import ipywidgets as ui
import numpy as np
from glue.core import Data

columns = dict(np.load("columns.npz"))
data = Data(label="clumps", **{name: columns[name] for name in ("log_r", "log_m", "log_s", "z_form", "x", "y")})
app = glue_jupyter.jglue(clumps=data)
group = app.data_collection.new_subset_group("small", data.id["log_r"] < np.log10(20))
viewers = [
    app.scatter2d(x="log_r", y="log_s", show=False),
    app.scatter2d(x="z_form", y="log_s", show=False),
    app.scatter2d(x="x", y="y", show=False),
    app.histogram1d(x="log_m", show=False),
]
slider = ui.FloatSlider(value=20, min=1, max=200, step=1, description="threshold", continuous_update=True)


def follow(change):
    group.subset_state = data.id["log_r"] < np.log10(change["new"])


slider.observe(follow, "value")
# The viewers as glue lays them out, toolbar and all; their figures as large as the other tools'.
for viewer in viewers:
    viewer.figure_widget.layout.width, viewer.figure_widget.layout.height = "430px", "300px"
rows = [ui.HBox([viewer.layout for viewer in viewers[i : i + 2]]) for i in (0, 2)]
ui.VBox([slider, *rows])
