"""The panel contract, held by every panel alike."""

import gc
import weakref

import ipywidgets
import numpy as np
import pytest
import sc_lab_widgets
from sc_lab_widgets import (
    DensitySizePanel,
    FormationPanel,
    GCColourPanel,
    HistogramPanel,
    MassFunctionPanel,
    SizeMagnitudePanel,
    TablePanel,
)
from sc_lab_widgets._saving import figure_data

from sc_lab.errors import InputError
from sc_lab.session import Session

PANELS = [
    DensitySizePanel,
    FormationPanel,
    GCColourPanel,
    HistogramPanel,
    MassFunctionPanel,
    SizeMagnitudePanel,
    TablePanel,
]


@pytest.fixture(params=PANELS, ids=lambda kind: kind.__name__)
def kind(request):
    return request.param


def same(a, b):
    """Compare results of any panel."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if hasattr(a, "candidates"):
        return same((a.edges, a.clumps, a.candidates), (b.edges, b.clumps, b.candidates))
    if hasattr(a, "quantile"):
        return np.allclose(a.quantile("beta", [0.16, 0.5, 0.84]), b.quantile("beta", [0.16, 0.5, 0.84]), atol=1e-9)
    if isinstance(a, tuple):
        return all(same(x, y) for x, y in zip(a, b, strict=True))
    a, b = np.asarray(a), np.asarray(b)
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def test_result_is_that_of_the_printed_call(kind, session, catalog):
    panel = kind(session)
    session.do("set", size_threshold=33.0)
    session.do("exclude", ids=[session.catalog["id"][0]], reason="it's a 'star'")
    scope = {"catalog": catalog}
    exec(panel.code(), scope)
    assert same(panel.result, scope["result"])
    panel.close()


def test_every_control_has_its_name_and_refuses_replacement(kind, session):
    panel = kind(session)
    names = list(panel.controls)
    assert names
    for name in names:
        with pytest.raises(AttributeError, match=rf"controls.{name}.value = "):
            setattr(panel.controls, name, 3)
    with pytest.raises(AttributeError, match="there is no control named 'thresold'"):
        panel.controls.thresold = 3
    panel.close()


def test_two_panels_of_two_sessions_are_independent(kind, catalog):
    with Session(catalog) as one, Session(catalog) as two:
        a, b = (
            kind(
                one,
            ),
            kind(two),
        )
        before = two.document
        one.do("set", size_threshold=80.0)
        assert two.document == before
        assert a.host.population.settings.size_threshold == 80.0
        assert b.host.population.settings.size_threshold == 20.0
        a.close()
        b.close()


def test_undo_returns_the_view(kind, session):
    panel = kind(session)

    def shown():
        return {name: figure_data(figure) for name, figure in panel.figures.items()}

    before = shown()
    session.do("set", size_threshold=60.0, mass_min=1e6)
    session.undo()
    after = shown()
    for name, table in before.items():
        assert table.colnames == after[name].colnames
        for column in table.colnames:
            assert (np.asarray(table[column].astype(str)) == np.asarray(after[name][column].astype(str))).all()
    panel.close()


def test_close_frees_the_panel_and_its_subscription(kind, session):
    listeners = len(session._core.subscribers)
    widgets = len(ipywidgets.widgets.widget._instances)
    panel = kind(session)
    assert panel.widget is not None
    gone = weakref.ref(panel)
    panel.close()
    assert len(session._core.subscribers) == listeners
    # A closed tree leaves nothing in the registry of live widgets.
    assert len(ipywidgets.widgets.widget._instances) == widgets
    del panel
    gc.collect()
    assert gone() is None


def test_a_cell_run_three_times_keeps_one_subscription(kind, session, monkeypatch):
    runs = iter(range(3))
    from sc_lab_widgets import _cells

    listeners = len(session._core.subscribers)
    counts = []
    for _ in range(3):
        run = next(runs)
        monkeypatch.setattr(_cells, "_this_cell", lambda run=run: (f"cell of {kind.__name__}", run))
        panel = kind(session)
        assert panel.widget is not None
        counts.append(len(session._core.subscribers) - listeners)
    assert len(set(counts)) == 1, counts
    panel.close()


def test_session_and_control_follow_one_another(session):
    panel = SizeMagnitudePanel(session)
    panel.controls.size_threshold.value = 44.0
    assert session.document.settings.size_threshold == 44.0
    assert panel.threshold.location == 44.0
    session.undo()
    assert panel.controls.size_threshold.value == 20.0
    panel.close()


def test_an_error_is_shown_in_place_and_goes_when_mended(session):
    panel = MassFunctionPanel(session)
    session.do("set", mass_min=1e12)
    assert "needs at least 2" in panel.message.text
    assert all(
        len(source.data[next(iter(source.data))]) == 0
        for name, source in panel.sources.items()
        if not name.startswith("histogram")
    )
    session.undo()
    assert panel.message.text == ""
    panel.close()


def test_wrong_text_in_a_control_is_refused_and_returns(session):
    panel = GCColourPanel(session)
    before = panel.controls.gc_box.value
    panel.controls.gc_box.value = "nonsense"
    assert "give x y pairs" in panel.message.text
    assert panel.controls.gc_box.value == before
    assert session.document.settings.gc_box == session.settings.gc_box
    panel.close()


def test_dragging_the_box_is_one_step(session):
    panel = GCColourPanel(session)
    steps = len(session.log)
    for left in (-1.1, -1.2, -1.3):
        panel.box.left = left
    assert session.settings.gc_box[0][0] == -1.3
    assert len(session.log) == steps
    panel.release()
    assert len(session.log) == steps + 1
    session.undo()
    assert panel.box.left == -1.0
    panel.close()


def test_a_polygon_shows_vertices_instead_of_a_box(session):
    panel = GCColourPanel(session)
    session.do("set", gc_box=[[-1, 0], [-0.5, 0], [-0.7, 0.4]])
    assert not panel.box.visible
    assert list(panel.vertices.data["x"]) == [-1, -0.5, -0.7]
    session.undo()
    assert panel.box.visible
    panel.close()


def test_limits_have_arrows_along_constant_mass(session):
    panel = DensitySizePanel(session)
    data = panel.host.sources.limits.data
    assert len(data["r_eff"]) == panel.host.population.counts["candidate_limits"] > 0
    mass = data["sigma_mass"].astype(float) * data["r_eff"].astype(float) ** 2
    end = data["end_sigma"].astype(float) * data["end_r"].astype(float) ** 2
    np.testing.assert_allclose(end, mass, rtol=1e-5)  # single precision on the way to the screen
    panel.close()


def test_selection_is_shared_and_not_logged(session):
    panel = FormationPanel(session)
    steps = len(session.log)
    panel.host.select([3, 5])
    assert list(panel.host.sources.selected.data["row"]) == [3, 5]
    panel.host.select([5], add=True)
    assert panel.host.selected_ids == [panel.host.population.ids[3]]
    assert len(session.log) == steps
    panel.close()


def test_all_parts_and_colourings_are_made(session):
    full = MassFunctionPanel(session)
    assert len(full.figures) == 7
    four = DensitySizePanel.all(session)
    assert len(four.figures) == 4
    nine = HistogramPanel.all(session)
    assert len(nine.figures) == 9
    for panel in (full, four, nine):
        panel.close()


def test_a_second_history_is_dashed_beside_the_first(session):
    plain = HistogramPanel(session)
    assert not any(item.visible for item in plain.figures["histogram"].legend[0].items[-2:])
    catalog = session.catalog.copy()
    catalog["mass_tau10"] = catalog["mass"] * 2
    catalog["age_onset_tau10"] = catalog["age_onset"] * 3
    panel = HistogramPanel(catalog, quantities=("mass", "z"))
    mass, z = panel.second
    histogram = panel.host.population.histogram("mass", history="tau10")
    assert mass.data["candidates"].max() == histogram.candidates.max() > 0
    assert list(mass.data["x"][[0, -1]]) == list(histogram.edges[[0, -1]])
    assert len(z.data["x"]) == 0, "a redshift has no history"
    items = [item for item in panel.figures["histogram_mass"].legend[0].items if item.visible]
    assert [item.label.value for item in items] == [
        "clumps",
        "candidates",
        "clumps, τ = 10 Myr",
        "candidates, τ = 10 Myr",
    ]
    lines = [each.glyph.line_dash for each in panel.figures["histogram_mass"].renderers[-2:]]
    assert lines == [[6], [6]]
    single = HistogramPanel(catalog)  # as in the overview, whose legends ran into one another
    assert single.figures["histogram"].legend[0].ncols == 2
    for each in (plain, panel, single):
        each.close()


def test_a_histogram_says_how_many_candidates_it_shows_of_how_many(session):
    """A count of candidates beside one of all clumps without a value read as if the latter were candidates."""
    catalog = session.catalog.copy()
    panel = HistogramPanel(catalog, quantities=("mass", "z"))
    candidate, removed = panel.host.population.candidate, panel.host.population.removed
    n = int(candidate.sum())
    assert panel.figures["histogram_z"].title.text == f"{n} candidates"
    panel.close()
    for row, words in (
        (np.flatnonzero(candidate)[0], f"{n - 1} of {n} candidates have a value"),
        (np.flatnonzero(~candidate & ~removed)[0], f"{n} candidates, 1 clump without a value"),
    ):
        changed = catalog.copy()
        changed["mass"][row] = np.nan
        panel = HistogramPanel(changed, quantities=("mass",))
        assert next(iter(panel.figures.values())).title.text == words
        panel.close()


def test_sizes_stand_against_absolute_magnitudes_with_what_is_nearby(session):
    """Figure 3 of the paper: limits are arrows, and references go where a magnitude is not absolute in V."""
    panel = SizeMagnitudePanel(session)
    plot, population = panel.figures["size_magnitude"], panel.host.population
    assert plot.xaxis[0].axis_label == "absolute V [AB mag]"
    assert plot.yaxis[0].axis_label == "effective radius [pc]"
    np.testing.assert_array_equal(panel.host.sources.planes["magnitude"], population.values("abs_mag_v"))
    assert plot.x_range.start > plot.x_range.end, "bright to the right"
    shown = {item.label.value for item in plot.legend[0].items if item.visible}
    assert shown == {"mag/arcsec²", "globular", "compact nearby"}
    assert len(panel.brightness.data["xs"]) > 3
    limits = panel.host.sources.limits.data
    assert len(limits["magnitude"]) == (population.candidate & population.r_eff_is_limit).sum()
    assert np.all(limits["lower_r"] < limits["r_eff"])
    candidates = panel.host.sources.candidates.data
    assert np.all(candidates["magnitude_lo"] <= candidates["magnitude_hi"])
    panel.controls.nearby.value = False
    assert not any(item.visible for item in plot.legend[0].items)
    panel.controls.nearby.value = True
    panel.controls.magnitude.value = "mag_f150w"
    assert plot.xaxis[0].axis_label == "F150W [AB mag]"
    np.testing.assert_array_equal(panel.host.sources.planes["magnitude"], session.catalog["mag_f150w"].value)
    assert plot.x_range.start > 20, "the axes follow"
    assert not any(item.visible for item in plot.legend[0].items)
    panel.close()


def test_the_layer_of_many_clumps_follows_the_magnitude(session, monkeypatch):
    from sc_lab_widgets import _figures

    monkeypatch.setattr(_figures, "IMAGE_ABOVE", 10)
    panel = SizeMagnitudePanel(session)
    before = panel.plane._counts.glyph.x
    panel.controls.magnitude.value = "mag_f150w"
    assert panel.plane._counts.glyph.x == panel.figures["size_magnitude"].x_range.end != before
    panel.close()


def test_unknown_parts_are_refused(session):
    with pytest.raises(InputError, match="no part 'beta'"):
        MassFunctionPanel(session, parts=("beta",))


def test_data_of_a_plot_are_written(session, tmp_path):
    panel = MassFunctionPanel(session)
    panel.save(tmp_path / "cmf.ecsv", "cumulative_schechter")
    assert "layer" in (tmp_path / "cmf.ecsv").read_text()
    with pytest.raises(InputError, match=r"cannot be saved as \.gif"):
        panel.save(tmp_path / "cmf.gif")
    with pytest.raises(InputError, match="not on the screen"):
        panel.save(tmp_path / "cmf.png")
    panel.close()


def test_every_public_panel_is_tested_here():
    names = {name for name in sc_lab_widgets.__all__ if name.endswith("Panel")}
    # These print calls of their own; test_sed.py, test_hosts.py and test_simulation.py hold them to the same contract.
    assert names - {"HostPanel", "SedPanel", "SimulationPanel"} == {kind.__name__ for kind in PANELS}


def test_a_figure_goes_to_holoviews_with_its_data(session):
    import holoviews as hv

    panel = FormationPanel(session)
    overlay = panel.to_holoviews()
    points = [element for element in overlay if isinstance(element, hv.Points)]
    assert len(points[0]) == panel.host.population.n
    with pytest.raises(InputError, match="no figure 'nothing'"):
        panel.to_holoviews("nothing")
    panel.close()


def test_escape_gives_up_a_drag(session):
    from sc_lab_widgets._keys import KeyBoard
    from sc_lab_widgets._pane import Key

    panel = GCColourPanel(session)
    steps = len(session.log)
    panel.box.left = -1.4
    assert session.previewing
    KeyBoard(panel.host, panel.message).press(Key("Escape"))
    panel.box.left = -1.5  # the pointer is still down
    panel.release()
    assert not session.previewing
    assert len(session.log) == steps
    assert panel.box.left == -1.0
    panel.box.left = -1.2
    panel.release()
    assert len(session.log) == steps + 1
    panel.close()


def test_a_histogram_says_how_many_values_its_first_bin_holds_from_below(session):
    """The axis reaches down 8 dex from the largest value; the bar at its end looked as if the values lay there."""
    catalog = session.catalog.copy()
    plain = HistogramPanel(catalog, quantities=("sfr",))
    assert "below" not in plain.figures["histogram_sfr"].title.text
    rows = np.flatnonzero(~plain.host.population.removed & np.isfinite(plain.host.population.values("sfr")))[:2]
    plain.close()
    catalog["sfr"][rows] = np.nanmax(np.ma.filled(catalog["sfr"], np.nan)) * 1e-12
    panel = HistogramPanel(catalog, quantities=("sfr", "z"))
    assert panel.figures["histogram_sfr"].title.text.endswith(", first bin holds 2 from below")
    assert "below" not in panel.figures["histogram_z"].title.text
    panel.close()


def test_the_table_writes_three_digits_under_whole_heads(session):
    """Every number has one notation to a column, every column a head, and every head room for its text."""
    panel = TablePanel(session)
    columns = {column.field: column for column in panel.table.columns}
    assert all(column.title for column in columns.values())
    # 7 px is a wide letter of the 12 px font of the table; padding and the arrow of a sorted column take 16 px.
    assert all(column.width >= 7 * len(column.title) + 16 for column in columns.values())
    for name in ("mass", "sigma_mass"):
        form = columns[name].formatter
        assert (form.precision, form.power_limit_low, form.power_limit_high) == (2, 0, 0)
    for name in ("z", "mu", "age_onset", "r_eff", "dynamical_age", "z_form"):
        assert "toPrecision(3)" in columns[name].formatter.template
    assert not panel.table.reorderable
    panel.close()
