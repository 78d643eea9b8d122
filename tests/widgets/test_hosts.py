"""The panel of host galaxies without a browser: figure 4 from a table alone."""

import gc
import weakref

import astropy.units as u
import ipywidgets
import numpy as np
import pytest
from astropy.table import QTable
from sc_lab_widgets import HostPanel
from sc_lab_widgets._pane import Key

from sc_lab.errors import InputError
from sc_lab.population.hosts import host_histograms


@pytest.fixture
def hosts():
    """Sixty hosts, two of which have no fit."""
    rng = np.random.default_rng(5)
    mass, sfr = 10 ** rng.normal(8.5, 0.7, 60), 10 ** rng.normal(0.1, 0.5, 60)
    mass[:2] = sfr[:2] = np.nan
    return QTable(
        {
            "id": np.array([f"<b>{k}" for k in range(60)]),
            "z": rng.uniform(1, 6, 60),
            "mu_median": rng.lognormal(1.0, 0.5, 60),
            "mass": mass * u.Msun,
            "sfr10": sfr * u.Msun / u.yr,
        }
    )


@pytest.fixture
def panel(hosts):
    panel = HostPanel(hosts)
    yield panel
    panel.close()


def same(a, b):
    return a.keys() == b.keys() and all(
        np.array_equal(a[k].edges, b[k].edges) and np.array_equal(a[k].counts, b[k].counts) for k in a
    )


def test_result_is_that_of_the_printed_call_and_of_the_plain_call(panel, hosts):
    panel.controls.bins.value = 7.0
    scope = {"hosts": hosts}
    exec(panel.code(), scope)
    assert same(panel.result, scope["result"])
    assert same(panel.result, host_histograms(hosts, bins=7))


def test_the_code_of_a_file_reads_the_file(hosts, tmp_path):
    path = tmp_path / "it's hosts.ecsv"
    hosts.write(path)
    panel = HostPanel(path, quantities=("z", "mass"))
    scope = {}
    exec(panel.code(), scope)
    assert same(panel.result, scope["result"])
    panel.close()


def test_bars_show_every_host_that_has_a_value(panel):
    assert list(panel.figures) == ["host_mass", "host_sfr10", "host_mu_median"]
    assert panel.sources["mass"].data["count"].sum() == 58
    assert panel.sources["mu_median"].data["count"].sum() == 60
    assert "58 hosts" in panel.figures["host_mass"].title.text
    assert "2 without a value" in panel.figures["host_mass"].title.text
    assert panel.figures["host_mass"].xaxis[0].axis_label == "log₁₀ stellar mass of the host [M☉]"
    assert "M☉ yr⁻¹" in panel.figures["host_sfr10"].xaxis[0].axis_label
    for name, plot in panel.figures.items():
        data = panel.sources[name.removeprefix("host_")].data
        assert plot.x_range.start < data["left"].min()
        assert plot.x_range.end > data["right"].max()
        assert plot.y_range.end >= data["count"].max()


def test_slider_and_keys_change_the_bins(panel):
    panel.controls.bins.value = 20.0
    assert len(panel.sources["mass"].data["left"]) == 20
    assert panel.press(Key("]"))
    assert len(panel.sources["mass"].data["left"]) == 21
    assert panel.press(Key("["))
    assert len(panel.sources["mass"].data["left"]) == 20
    assert panel.press(Key("?"))
    assert not panel.press(Key("x"))


def test_a_table_without_a_fit_shows_empty_figures():
    table = QTable({"mass": [np.nan] * u.Msun, "sfr10": [np.nan] * u.Msun / u.yr, "mu_median": [np.nan]})
    panel = HostPanel(table)
    assert panel.figures["host_mass"].title.text == "0 hosts, 1 without a value"
    panel.close()


def test_what_cannot_be_shown_is_refused_in_words(hosts, tmp_path):
    with pytest.raises(InputError, match="no column 'sfr10'"):
        HostPanel(hosts["id", "mass", "mu_median"])
    with pytest.raises(InputError, match="no host quantity named 'weight'"):
        HostPanel(hosts, quantities=("weight",))
    with pytest.raises(InputError, match="not a int"):
        HostPanel(3)
    with pytest.raises(InputError, match="cannot be read"):
        HostPanel(tmp_path / "none.ecsv")


def test_close_frees_everything(hosts):
    before = len(ipywidgets.widgets.widget._instances)
    panel = HostPanel(hosts)
    assert panel.widget is not None
    gone = weakref.ref(panel)
    panel.close()
    assert len(ipywidgets.widgets.widget._instances) == before
    del panel
    gc.collect()
    assert gone() is None


def test_two_panels_do_not_see_each_other(hosts):
    one, two = HostPanel(hosts), HostPanel(hosts)
    one.controls.bins.value = 5.0
    assert len(two.sources["mass"].data["left"]) == 12
    one.close()
    two.close()
