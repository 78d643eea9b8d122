"""The simulation panel without a browser, and simulated clusters in the density-size plane of observed ones."""

import asyncio
import gc
import threading
import weakref

import astropy.units as u
import ipywidgets
import numpy as np
import pytest
from bokeh.events import RangesUpdate, Tap
from sc_lab_widgets import DensitySizePanel, SimulationPanel, Workbench
from sc_lab_widgets._pane import Key
from sc_lab_widgets.panels.simulation_run import Runner

from sc_lab.errors import InputError
from sc_lab.mock import make_snapshot
from sc_lab.simulations import Snapshot, as_catalog, find_groups, measure_clusters


@pytest.fixture(scope="module")
def box():
    """Return a small box of clusters, with a name that is no HTML."""
    return make_snapshot(4, n_side=30, n_clusters=12, n_haloes=5, name="<b>box</b>")


@pytest.fixture
def panel(box):
    panel = SimulationPanel(box)
    yield panel
    panel.close()


def tap(panel, figure, x, y):
    plot = panel.figures[figure]
    plot._trigger_event(Tap(plot, x=x, y=y, sx=0, sy=0, modifiers={}))


def same(one, two):
    return len(one) == len(two) and all(
        np.array_equal(np.asarray(one[name]), np.asarray(two[name]), equal_nan=one[name].dtype.kind == "f")
        for name in one.colnames
    )


@pytest.mark.parametrize("mode", ["SGP", "DMP-GS", "own choice"])
def test_result_is_that_of_the_printed_call(panel, box, mode):
    panel.controls.mode.value = mode
    panel.controls.b.value = 0.25
    panel.controls.primary.value = (0, 4)
    scope = {"snapshot": box}
    exec(panel.code(), scope)
    assert same(panel.result, scope["result"])
    assert panel.message.text == ""


def test_the_panel_gives_what_the_plain_call_gives(panel, box):
    plain = measure_clusters(box, find_groups(box, "SGP"))
    assert same(panel.result, plain)
    assert len(panel.view.groups.data["x"]) == len(plain)
    drawn = sum(len(source.data["row"]) for source in panel.view.layer.sources.values())
    assert drawn == len(plain)


def test_a_click_on_the_map_shows_the_numbers_and_rings_the_cluster_in_the_plane(panel):
    row = panel.result[4]
    tap(panel, "map", *panel._places()[4])
    assert panel.current["id"] == row["id"]
    assert panel.view.current_plane.data["r_eff"] == [row["r_eff"].value]
    assert panel.view.current_plane.data["sigma_mass"] == [row["sigma_mass"].value]
    assert "|U|/K" in panel._numbers.value
    assert len(panel.view.members.data["x"]) == row["n_star"]
    # a click on empty sky takes it back
    tap(panel, "map", *np.asarray(panel.view.whole)[[1, 3]] * 1.5)
    assert panel.current is None
    assert panel._numbers.value == ""
    assert panel.view.current.data["x"] == []


def test_a_click_in_the_plane_brings_the_group_into_view(panel):
    panel.select(str(panel.result["id"][0]))
    panel.press(Key("g"))
    for row in (3, 0):
        one = panel.result[row]
        tap(panel, "density_size", one["r_eff"].value, one["sigma_mass"].value)
        assert panel.current["id"] == one["id"]
        x0, x1, y0, y1 = panel.view.extent
        x, y = panel._place()
        assert x0 <= x <= x1
        assert y0 <= y <= y1


def test_members_are_drawn_around_a_group_that_straddles_the_edge(panel, box):
    true = box.truth[0]
    assert true["x"] == 0
    names = ("x", "y", "z_position")
    at = np.stack([panel.result[name].to_value(u.kpc) for name in names], axis=1)
    away = np.abs((at + panel._box / 2) % panel._box - panel._box / 2).sum(axis=1)
    panel.select(str(panel.result["id"][int(np.argmin(away))]))
    x = np.asarray(panel.view.members.data["x"])
    assert np.ptp(x) < 4 * panel.current["r_max"].to_value(u.kpc)


def test_another_linking_length_finds_the_groups_anew_and_keeps_the_current_one(panel):
    panel.select(str(panel.result["id"][2]))
    x = panel.current["x"].value
    before = panel.groups.linking_length
    panel.controls.b.value = 0.4
    assert panel.groups.linking_length == pytest.approx(2 * before)
    assert panel.current["x"].value == pytest.approx(x, abs=0.05)


def test_modes_have_their_own_least_number_unless_the_user_has_set_one(panel):
    panel.controls.mode.value = "DMP-GS"
    assert panel.controls.min_members.value == 300
    assert panel.groups.primary == (1,)
    panel.controls.min_members.value = 500.0
    panel.controls.mode.value = "SP"
    assert panel.controls.min_members.value == 500
    assert (panel.result["n_star"] > 500).all()


def test_types_can_be_chosen_and_none_is_refused_in_place(panel):
    before = panel.result
    panel.controls.mode.value = "own choice"
    assert panel.controls.primary.layout.display is None
    panel.controls.primary.value = ()
    assert "no type is chosen" in panel.message.text
    with pytest.raises(InputError, match="no type"):
        _ = panel.result
    panel.controls.primary.value = (1, 4)
    assert panel.message.text == ""
    assert panel.groups.secondary == (0,)
    panel.controls.mode.value = "SGP"
    assert panel.controls.primary.layout.display == "none"
    assert same(panel.result, before)


def test_nothing_found_is_an_empty_map_not_an_error(panel):
    panel.controls.min_members.value = 5000.0
    assert len(panel.result) == 0
    assert len(panel.view.groups.data["x"]) == 0
    assert "0 with enough members" in panel._status.value
    panel.press(Key("]"))
    assert panel.current is None
    panel.press(Key("g"))
    assert "no current group" in panel.message.text


def test_keys_step_zoom_and_turn(panel):
    ids = [str(each) for each in panel.result["id"]]
    panel.press(Key("]"))
    panel.press(Key("]"))
    assert panel.current["id"] == ids[1]
    panel.press(Key("["))
    panel.press(Key("["))
    assert panel.current["id"] == ids[-1]
    panel.press(Key("+"))
    x0, x1, *_ = panel.view.extent
    assert x1 - x0 == pytest.approx(panel._box / 1.6)
    panel.press(Key("r"))
    assert panel.view.extent == panel.view.whole
    panel.press(Key("a"))
    assert panel.controls.axis.value == "x"
    assert panel.figures["map"].xaxis[0].axis_label == "y [kpc]"
    panel.press(Key("t"))
    assert panel.controls.shown.value == "gas"
    panel.press(Key("Escape"))
    assert panel.current is None
    panel.press(Key("?"))
    assert "next line of sight" in panel.message.text
    assert not panel.press(Key("x"))


def test_the_picture_is_counted_anew_for_what_is_seen(panel):
    assert panel.widget is not None
    first = panel.view.image.data
    panel.view.show_extent((1.0, 2.0, 3.0, 4.0))
    plot = panel.figures["map"]
    plot._trigger_event(RangesUpdate(plot, x0=1, x1=2, y0=3, y1=4))
    assert panel.view.image.data is not first
    assert panel.view.image.data["dw"] == [1.0]
    again = panel.view.image.data
    plot._trigger_event(RangesUpdate(plot, x0=1, x1=2, y0=3, y1=4))
    assert panel.view.image.data is again


def test_groups_are_found_beside_the_notebook_and_the_newest_wins(box):
    async def use():
        panel = SimulationPanel(box)
        for value in (0.21, 0.22, 0.3):
            panel.controls.b.value = value
        assert panel._runner.running
        # asking for the answer waits for it
        assert len(panel.result) > 0
        found = panel.groups.linking_length
        panel.controls.b.value = 0.2
        panel._runner.cancel()
        assert "last search" in panel._status.value
        kept = panel.groups.linking_length
        # what was stopped is made up for when the answer is asked for
        assert len(panel.result) > 0
        assert panel.groups.linking_length == pytest.approx(kept / 1.5)
        panel.controls.b.value = 0.3
        while panel._runner.running:  # noqa: ASYNC110 - a panel has no event to wait for
            await asyncio.sleep(0.02)
        panel.close()
        return found, kept, panel.groups.linking_length

    found, kept, end = asyncio.run(use())
    assert found == kept == end


def test_a_failing_search_is_said_in_place_also_from_its_thread():
    seen = []
    told = threading.Event()

    def work(**_):
        told.set()
        msg = "no box"
        raise InputError(msg)

    async def use():
        runner = Runner(lambda *_: seen.append("answer"), lambda error: seen.append(str(error)), lambda: None)
        runner.ask(1, work, beside=True)
        while runner.running:  # noqa: ASYNC110 - nor has its runner
            await asyncio.sleep(0.02)
        runner.close()

    asyncio.run(use())
    assert told.is_set()
    assert seen == ["no box"]


def test_simulated_clusters_open_in_the_workbench(panel):
    workbench = Workbench(panel.catalog)
    assert workbench.session.catalog["mu"].tolist() == [1.0] * len(panel.result)
    workbench.close()


def test_observed_clusters_lie_in_the_same_plane(box, catalog):
    panel = SimulationPanel(box, observed=catalog, min_members=50.0)
    assert panel.controls.min_members.value == 50
    shown = panel.view.observed.data
    assert len(shown["r_eff"]) > 5
    assert max(shown["r_eff"]) <= 60
    panel.close()


def test_names_from_files_stay_text(panel, tmp_path):
    assert panel.figures["map"].title.text.startswith("<b>box</b>")
    panel.select(str(panel.result["id"][0]))
    assert "<b>" not in panel._numbers.value
    panel.save(tmp_path / "groups.csv")
    assert "virialised" in (tmp_path / "groups.csv").read_text(encoding="utf-8")
    panel.save(tmp_path / "plane.ecsv", "density_size")
    with pytest.raises(InputError, match="not on the screen"):
        panel.save(tmp_path / "map.png")


@pytest.mark.real_data
def test_a_file_is_opened_and_closed_by_its_path(real_data, tmp_path):
    path = real_data / "simulation/arepo_mini/SGP/snap-groupordered_008.hdf5"
    panel = SimulationPanel(path, min_members=30.0)
    assert "7 groups of SGP" in panel._status.value
    scope = {}
    exec(panel.code(), scope)
    assert same(panel.result, scope["result"])
    panel.press(Key("]"))
    assert len(panel.view.members.data["x"]) == panel.current["n_star"]
    panel.close()
    with pytest.raises(ValueError, match="invalid group"):  # so h5py says it
        panel.snapshot.stars.code("Masses")


def test_what_is_no_snapshot_is_refused(tmp_path, box):
    with pytest.raises(InputError, match="synthetic"):
        SimulationPanel(3)
    with pytest.raises(InputError, match="there is no file"):
        SimulationPanel(tmp_path / "snap.hdf5")
    dark = Snapshot.from_arrays({"dm": {"Coordinates": np.zeros((3, 3))}}, box_size=1.0)
    with pytest.raises(InputError, match="no stars"):
        SimulationPanel(dark)
    with pytest.raises(InputError, match="no group"):
        SimulationPanel(box).select("SGP-999")


def test_two_panels_do_not_see_each_other(box):
    one, two = SimulationPanel(box), SimulationPanel(box)
    one.select(str(one.result["id"][0]))
    one.controls.b.value = 0.3
    assert two.current is None
    assert two.controls.b.value == 0.2
    one.close()
    two.press(Key("]"))
    assert two.current["id"] == two.result["id"][0]
    two.close()


def test_close_frees_everything(box):
    before = len(ipywidgets.widgets.widget._instances)
    panel = SimulationPanel(box)
    assert panel.widget is not None
    gone = weakref.ref(panel)
    panel.close()
    assert len(ipywidgets.widgets.widget._instances) == before
    del panel
    gc.collect()
    assert gone() is None


# ---------------------------------------------------------------------- in the plane of observed clusters


def test_simulated_clusters_are_drawn_once_in_the_plane_of_observed_ones(session, box):
    clusters = measure_clusters(box, find_groups(box, "SGP"))
    panel = DensitySizePanel(session, simulated={"run": clusters})
    shown = {state: dict(source.data) for state, source in panel.simulated.sources.items()}
    drawn = np.concatenate([data["sigma_mass"] for data in shown.values()])
    assert np.sort(drawn) == pytest.approx(np.sort(clusters["sigma_mass"].value))
    assert shown["virialised"]["id"][0].startswith("run/SGP-")
    # a step of the slider touches none of it
    before = {state: source.data for state, source in panel.simulated.sources.items()}
    session.do("set", size_threshold=44.0)
    assert all(source.data is before[state] for state, source in panel.simulated.sources.items())
    # the other convention holds for both
    session.do("set", within="total")
    halved = np.concatenate([source.data["sigma_mass"] for source in panel.simulated.sources.values()])
    assert halved == pytest.approx(2 * drawn)
    assert not any(renderer.level == "overlay" for renderer in panel.simulated.renderers)
    panel.close()


def test_the_plane_takes_catalogues_and_several_of_them_and_refuses_other_things(session, box):
    clusters = measure_clusters(box, find_groups(box, "SP"))
    for given in (as_catalog(clusters), [clusters, as_catalog(clusters, field="again")]):
        panel = DensitySizePanel(session, simulated=given)
        assert len(panel.simulated.mass) == len(clusters) * (2 if isinstance(given, list) else 1)
        panel.close()
    with pytest.raises(InputError, match="measure_clusters"):
        DensitySizePanel(session, simulated=7)
    plain = DensitySizePanel(session)
    assert plain.simulated is None
    plain.close()


def test_simulated_clusters_lie_over_the_observed_ones_of_a_workbench(session, box):
    """In the plane of the overview and in those of its own view, in the legend, and in no number of the population."""
    groups = find_groups(box, "SGP")
    clusters = measure_clusters(box, groups)
    plain = Workbench(session)
    workbench = Workbench(session, simulated={"run": (box, groups)})
    assert workbench.population.counts == plain.population.counts
    assert len(workbench.simulated) == len(clusters)
    workbench.controls.view.value = "density–size"
    for name in ("density_size", "density–size"):
        for plot in workbench.panels[name].figures.values():
            said = [item.label.value for item in plot.legend[0].items]
            assert [f"simulated, {state}" in said for state in ("virialised", "bound", "unbound")] == [True] * 3
        kinds = {
            type(each) for source in workbench.panels[name].simulated.sources.values() for each in source.data.values()
        }
        assert kinds <= {list, np.ndarray}  # a column of a table arrives in the browser garbled
        drawn = sum(len(source.data["row"]) for source in workbench.panels[name].simulated.sources.values())
        assert drawn == len(clusters)
    said = [item.label.value for item in plain.panels["density_size"].figures["density_size"].legend[0].items]
    assert not any("simulated" in label for label in said)
    workbench.close()
    plain.close()
    for wrong, words in (
        (box, "give the pair"),
        ("run.ecsv", "give the table of measure_clusters"),
        (3, "give the table"),
    ):
        with pytest.raises(InputError, match=words):
            Workbench(session, simulated=wrong)


def test_cancel_stops_the_search_for_groups_itself(box, monkeypatch):
    """Not only the energies after it: the search sees that it is no longer wanted, and what was shown stays."""
    from sc_lab_widgets.panels import simulation

    begun, ended, said = threading.Event(), threading.Event(), []
    plain = simulation.find_groups

    def slowly(*given, cancel, progress, **options):
        begun.set()
        cancel.wait(10)
        try:
            return plain(*given, cancel=cancel, progress=progress, **options)
        except InputError as error:
            said.append(str(error))
            raise
        finally:
            ended.set()

    async def use():
        panel = SimulationPanel(box)
        while panel._runner.running:  # noqa: ASYNC110 - nor has its runner
            await asyncio.sleep(0.01)
        before = panel.groups
        monkeypatch.setattr(simulation, "find_groups", slowly)
        panel.controls.b.value = 0.3
        await asyncio.to_thread(begun.wait, 10)
        panel._runner.stop.click()
        await asyncio.to_thread(ended.wait, 10)
        assert panel.groups is before
        assert not panel._runner.running
        assert panel.message.text == ""
        panel.close()

    asyncio.run(use())
    assert said == ["the search for groups was cancelled; nothing of it is kept"]
