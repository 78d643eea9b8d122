"""The workbench: one session, all panels, every control with its call."""

import ipywidgets
import numpy as np
import pytest
from sc_lab_widgets import Workbench
from sc_lab_widgets._pane import Key

from sc_lab.catalog import read_catalog
from sc_lab.errors import InputError
from sc_lab.mock import make_population
from sc_lab.population import Settings, analyse
from sc_lab.session import Session


@pytest.fixture
def workbench(session):
    made = Workbench(session)
    yield made
    made.close()


def test_the_calls_of_the_documentation_work(workbench):
    workbench.controls.size_threshold.value = 30
    assert workbench.session.document.settings.size_threshold == 30
    assert workbench.population.candidate.sum() == analyse(workbench.session.catalog, size_threshold=30).candidate.sum()
    workbench.session.undo()
    assert workbench.controls.size_threshold.value == 20


def test_there_is_a_control_for_every_setting(workbench):
    assert set(Settings.names()) <= set(workbench.controls)


def test_every_setting_control_makes_one_undoable_step(workbench):
    new = {
        "size_threshold": 35.0,
        "age_max": 60.0,
        "mass_min": 3e6,
        "mass_max": "1e9",
        "drop_most_massive": False,
        "gc_cut": False,
        "gc_box": "-1 0; -0.4 0; -0.4 0.3; -1 0.3",
        "lens_model": "m2",
        "within": "total",
        "hubble": 67.0,
        "omega_m": 0.31,
        "omega_de": 0.69,
        "n_populations": 60,
        "seed": 7,
    }
    assert set(new) == set(Settings.names())
    for name, value in new.items():
        steps, before = len(workbench.session.log), workbench.session.document
        getattr(workbench.controls, name).value = value
        assert len(workbench.session.log) == steps + 1, name
        assert getattr(workbench.session.document.settings, name) != getattr(before.settings, name)
        workbench.session.undo()
        assert workbench.session.document == before


def test_code_makes_the_same_population(workbench, catalog):
    workbench.controls.size_threshold.value = 42
    workbench.session.do("keep", ids=[workbench.population.ids[1]])
    scope = {"catalog": catalog}
    exec(workbench.code(), scope)
    assert np.array_equal(scope["population"].status, workbench.population.status)


def test_views_switch_and_hidden_panels_wait(workbench):
    for view in ("mass function", "histograms", "density–size", "overview"):
        workbench.controls.view.value = view
        assert workbench._root.children == [workbench._views[view]]
    hidden = workbench.panels["histograms"]
    before = [dict(source.data) for source in hidden.sources]
    workbench.controls.size_threshold.value = 77
    assert all(
        a is b
        for old, source in zip(before, hidden.sources, strict=True)
        for a, b in zip(old.values(), source.data.values(), strict=True)
    )
    workbench.controls.view.value = "histograms"
    assert hidden.sources[1].data["candidates"].sum() == workbench.population.candidate.sum()


def test_keys_edit_the_selection(workbench):
    name = workbench.population.ids[int(np.flatnonzero(workbench.population.candidate)[0])]
    workbench.select([name])
    press = workbench._keys.press
    press(Key("Delete"))
    assert dict(workbench.session.document.excluded) == {name: ""}
    press(Key("Delete"))
    assert workbench.session.document.excluded == ()
    press(Key("u"))
    press(Key("u"))
    assert workbench.session.document.excluded == ()
    press(Key("U", shift=True))
    assert len(workbench.session.document.excluded) == 1
    press(Key("Escape"))
    assert workbench.selected == []
    press(Key("Delete"))
    assert "nothing is selected" in workbench.message.text
    press(Key("]"))
    assert len(workbench.selected) == 1
    press(Key("?"))
    assert "Shift-click" in workbench.message.text


def test_table_and_plots_share_the_selection(workbench):
    table = workbench.panels["table"]
    table.source.selected.indices = [2]
    assert list(workbench.host.selection) == [table.result[2]]
    workbench.select([workbench.population.ids[int(table.result[4])]])
    assert list(table.source.selected.indices) == [4]


def test_a_note_belongs_to_one_clump(workbench):
    workbench.select([workbench.population.ids[8]])
    workbench._sidebar.note.value = "looks like a star"
    assert dict(workbench.session.document.notes) == {workbench.population.ids[8]: "looks like a star"}
    assert workbench._sidebar.note.value == ""


def test_export_button_writes_what_the_library_writes(workbench, tmp_path):
    workbench.controls.size_threshold.value = 25
    workbench.export(tmp_path / "a.ecsv")
    from sc_lab.export import catalog_table, write_table

    write_table(catalog_table(workbench.population), tmp_path / "b.ecsv")
    assert (tmp_path / "a.ecsv").read_bytes() == (tmp_path / "b.ecsv").read_bytes()
    workbench._sidebar.file.value = str(tmp_path / "a.ecsv")
    with pytest.raises(InputError):
        workbench.export(tmp_path / "a.ecsv")


def test_a_project_keeps_every_step(catalog, tmp_path):
    path = tmp_path / "work.sclab"
    first = Workbench(catalog, project=path)
    first.controls.size_threshold.value = 51
    first.close()
    first.session.close()
    again = Workbench(path)
    assert again.controls.size_threshold.value == 51
    assert str(path) in again._status.value
    again.close()
    again.session.close()


def test_a_session_in_memory_can_be_kept_later_with_all_its_steps(workbench, tmp_path):
    workbench.controls.size_threshold.value = 61
    steps = len(workbench.session.log)
    workbench.save_as(tmp_path / "later.sclab")
    assert "later.sclab" in workbench._status.value
    workbench.controls.age_max.value = 50
    workbench.session.close()
    with Session.open(tmp_path / "later.sclab") as again:
        assert again.settings.size_threshold == 61
        assert again.settings.age_max == 50
        assert len(again.log) == steps + 1


def test_data_of_a_plot_are_saved_once(workbench, tmp_path):
    workbench.save_plot(tmp_path / "plane.csv", "density_size")
    assert "wrote" in workbench.message.text
    with pytest.raises(InputError, match="exists already"):
        workbench.save_plot(tmp_path / "plane.csv", "density_size")


def test_sources_of_every_kind_open(catalog, tmp_path):
    from sc_lab.export import catalog_table, write_table

    path = tmp_path / "clumps.ecsv"
    write_table(catalog_table(analyse(catalog)), path)
    for source in (catalog, path, str(path), Session(catalog)):
        made = Workbench(source)
        assert made.population.n == 400
        made.close()
    assert read_catalog(path).colnames
    with pytest.raises(InputError, match="cannot make a workbench from int"):
        Workbench(3)


def test_hostile_names_are_escaped_everywhere(catalog):
    hostile = "<img src=x onerror=alert(1)>"
    table = catalog.copy()
    ids = table["id"].astype("U60")
    ids[0] = hostile
    table["id"] = ids
    made = Workbench(table)
    made.select([hostile])
    made.session.do("note", id=hostile, text="<script>alert(2)</script>")
    for widget in (made._status, made._sidebar.details, made.message):
        assert "<img" not in widget.value
        assert "<script" not in widget.value
    assert "&lt;img" in made._sidebar.details.value
    made.message.show(hostile, error=True)
    assert "<img" not in made.message.value
    made.close()


def test_close_leaves_no_widget_behind(session):
    before = len(ipywidgets.widgets.widget._instances)
    made = Workbench(session)
    made.controls.view.value = "mass function"
    made.close()
    assert len(ipywidgets.widgets.widget._instances) == before


def test_a_catalogue_without_colours_or_limits_opens():
    from astropy import units as u
    from astropy.table import QTable

    table = QTable(
        {"id": ["a", "b", "c"], "z": [1.0, 2.0, 3.0], "mass": [1e6, 4e6, 9e6] * u.Msun, "r_eff": [5, 15, 50] * u.pc}
    )
    made = Workbench(table)
    assert made.population.counts["candidates"] == 2
    made.close()


def test_fifty_thousand_clumps_are_an_image(tmp_path):
    from sc_lab.mock import make_population

    big = make_population(n=21_000, draws=0, rng=1).catalog
    made = Workbench(Session(big))
    assert made.panels["density_size"].figures["density_size"] is not None
    assert len(made.host.sources.base.data["id"]) == 0
    made.close()


@pytest.mark.parametrize(("n", "said"), [(1, "1 mass provisional"), (2, "2 masses provisional")])
def test_the_status_counts_one_provisional_mass_as_one(n, said):
    catalog = make_population(n=30, rng=1).catalog
    catalog["mass_is_provisional"] = np.arange(30) < n
    made = Workbench(catalog)
    assert f"{said}, for an assumed age" in made._status.value
    made.close()
    made.session.close()
