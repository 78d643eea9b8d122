"""What is read off an injection run: shares, interpolation, limits, biases, files, and the mass function's selection."""

from __future__ import annotations

import json
import warnings

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable
from scipy.special import expit, logit
from scipy.stats import binom

from sc_lab.cmf import draw_masses, fit_mass_function, mass_function
from sc_lab.completeness import CLASSES, Cells, Completeness, inject_recover
from sc_lab.completeness.records import RECORD, Outcome, true_flux, true_shape
from sc_lab.errors import InputError, ScLabWarning

MAGNITUDES = np.arange(26.0, 31.01, 0.5)
SIZES = np.array([0.0, 1.0, 2.0])


def falling(mag, size):
    """Half found at 29 for points, one magnitude brighter for each pixel of size."""
    return expit((29.0 - size - mag) / 0.25)


@pytest.fixture(scope="module")
def result(make_result):
    return make_result(MAGNITUDES, SIZES, falling, per_cell=400)


def test_binomial_intervals_hold_two_thirds_of_the_truths_and_the_share_itself():
    n = 50  # as many as a cell should have
    k = np.arange(n + 1)
    cells = Cells(np.full(n + 1, n), k)
    low, high = cells.interval
    assert ((low <= cells.fraction) & (cells.fraction <= high)).all()
    covered = []
    for p in np.linspace(0.05, 0.95, 37):
        inside = (low <= p) & (p <= high)
        covered.append(binom.pmf(k, n, p)[inside].sum())
    # Of discrete counts the coverage swings about 68 % by the chance of one count, a tenth.
    assert np.mean(covered) == pytest.approx(0.68, abs=0.03)
    assert min(covered) > 0.55
    # At 50 clumps and half found: 7 % half width, the rule of thumb.
    assert (high - low)[25] / 2 == pytest.approx(0.07, abs=0.003)
    assert np.isnan(Cells(np.zeros(1, dtype=int), np.zeros(1, dtype=int)).fraction[0])
    assert 0 < cells.expected[0] < 0.02
    assert 0.98 < cells.expected[-1] < 1


def test_probability_is_the_shares_at_the_nodes_and_its_log_odds_are_linear_between(result):
    mag, size = np.meshgrid(MAGNITUDES, SIZES, indexing="ij")
    np.testing.assert_allclose(result.probability(mag, size), result.completeness().expected, rtol=1e-12)
    between = logit(result.probability([28.0, 28.25, 28.5], 0.0))
    assert between[1] == pytest.approx((between[0] + between[2]) / 2, rel=1e-12)
    between = logit(result.probability(28.0, [0.0, 0.25, 1.0]))
    assert between[1] == pytest.approx(0.75 * between[0] + 0.25 * between[2], rel=1e-12)
    # Binomial error of 400: 0.025; three of it.
    np.testing.assert_allclose(result.probability(mag, size), falling(mag, size), atol=0.075)
    assert np.isnan(result.probability([np.nan, 28.0], [1.0, np.nan])).all()
    # The same size as an angle: pixels of 20 mas.
    assert result.probability(28.0, 30 * u.mas) == pytest.approx(result.probability(28.0, 1.5), rel=1e-12)
    assert result.probability(28.0 * u.ABmag, 1.5 * u.pix) == result.probability(28.0, 1.5)


def test_limit_is_where_the_probability_crosses(result):
    sizes = np.array([0.0, 0.5, 1.0, 2.0])
    limits = result.limit(0.5, sizes)
    np.testing.assert_allclose(result.probability(limits, sizes), 0.5, atol=1e-9)  # its definition
    # Error of a share of 400 over the slope of one in a magnitude, and the bend of the curve between nodes.
    np.testing.assert_allclose(limits, 29.0 - sizes, atol=0.1)
    assert result.limit(0.8, 0.0) < limits[0]
    with pytest.raises(InputError, match="between 0 and 1"):
        result.limit(50, 0.0)


def test_axis_ratio_and_background_are_told_apart(make_result):
    records = make_result([28.0, 29.0], [1.0], lambda m, s: np.full(m.shape, 0.5), axis_ratios=(0.5, 1.0))
    rows = records._records
    rows["outcome"] = np.where(
        (rows["background"] < 1.0) | (rows["axis_ratio"] == 0.5), Outcome.RECOVERED, Outcome.MISSED
    )
    known = Completeness.from_records(rows, settings=records.settings)
    np.testing.assert_allclose(known.background_edges, [0, 1, 2, 3], atol=0.15)  # terciles of 800 uniform numbers
    assert (known.completeness(axis_ratio=0.5).fraction == 1).all()
    faint, bright = (known.completeness(axis_ratio=1.0, background=level).fraction for level in (0, 2))
    assert (faint > 0.8).all()
    assert (bright == 0).all()
    assert known.probability(28.0, 1.0, background=0) > known.probability(28.0, 1.0, background=2)
    whole = known.completeness()
    parts = [known.completeness(background=level) for level in range(3)]
    np.testing.assert_array_equal(sum(part.injected for part in parts), whole.injected)
    np.testing.assert_array_equal(sum(part.recovered for part in parts), whole.recovered)
    with pytest.raises(InputError, match=r"injected were 0.5, 1"):
        known.completeness(axis_ratio=0.7)
    with pytest.raises(InputError, match="bins are 0"):
        known.probability(28.0, 1.0, background=3)


def test_magnitudes_beyond_the_grid_hold_its_rim_and_are_told_where_that_matters(make_result, result):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # both ends are reached: nothing to say
        assert result.probability(40.0, 0.0) == result.probability(31.0, 0.0) < 0.01
        assert result.probability(20.0, 0.0) == result.probability(26.0, 0.0) > 0.99
    short = make_result(np.array([28.5, 29.0, 29.5]), np.array([0.0]), falling)
    with pytest.warns(ScLabWarning, match="fainter than 29.5, where up to .* inject fainter"):
        short.probability(30.0, 0.0)
    with pytest.warns(ScLabWarning, match="brighter than 28.5, where the chance to be detected still rises"):
        short.probability(27.0, 0.0)


def fitted_records(n=4000):
    """Records with fits that scatter by their errors about a flux 3 % too high."""
    rng = np.random.default_rng(3)
    rows = np.zeros(n, dtype=RECORD)
    rows["mag"], rows["size"] = rng.choice([26.0, 27.0], n), rng.choice([0.2, 1.5], n)
    rows["axis_ratio"], rows["theta"] = 0.8, rng.uniform(0, np.pi, n)
    rows["outcome"], rows["background"] = Outcome.RECOVERED, 1.0
    flux, shape = true_flux(rows), true_shape(rows)
    rows["flux_err"] = 0.1 * flux
    rows["flux"] = 1.03 * flux + rng.normal(size=n) * rows["flux_err"]
    rows["x_err"], rows["y_err"], rows["c_err"] = 0.1, 0.1, 0.2
    rows["x_fit"], rows["y_fit"] = 0.2 * rng.normal(size=n), 0.1 * rng.normal(size=n)
    rows["cxx"], rows["cyy"], rows["cxy"] = shape.T
    moved = 0.2 * rng.normal(size=n)
    rows["cxx"] += moved
    rows["cyy"] += moved
    large = (rows["cxx"] + rows["cyy"]) / 2 + np.hypot((rows["cxx"] - rows["cyy"]) / 2, rows["cxy"])
    small = rows["cxx"] + rows["cyy"] - large
    rows["std_maj"], rows["std_min"] = np.sqrt(np.maximum(large, 0)), np.sqrt(np.maximum(small, 0))
    settings = {"pixel_scale": 0.02, "magnitudes": [26.0, 27.0], "sizes": [0.2, 1.5], "axis_ratios": [0.8], "band": "X"}
    return Completeness.from_records(rows, settings=settings)


def test_biases_scatter_pulls_and_confusion_are_those_put_in():
    known = fitted_records()
    flux = known.flux_bias()
    # Errors of a median and a width from 1000 clumps: 0.4 % and 0.4 %; three of them.
    np.testing.assert_allclose(flux.median, 0.03, atol=0.013)
    np.testing.assert_allclose(flux.scatter, 0.10, atol=0.012)
    assert flux.n.sum() == 4000
    pulls = known.pulls()
    # From 4000: 0.02 and 0.02.
    assert pulls["flux"].median == pytest.approx(0.3, abs=0.06)
    assert pulls["flux"].width == pytest.approx(1.0, abs=0.06)
    assert pulls["x"].width == pytest.approx(2.0, abs=0.12)  # errors half of what they should be
    assert pulls["y"].width == pytest.approx(1.0, abs=0.06)
    assert pulls["variance"].width == pytest.approx(1.0, abs=0.06)
    assert pulls["y"].n == 4000
    size = known.size_bias()
    assert size.median[0, 1] == pytest.approx(0.0, abs=0.02)  # resolved: error 0.1 px / sqrt(1000)
    # 0.2 px is below the limit of 0.4; what is measured above it is too large by then.
    assert (size.median[:, 0] > 0.2).all()
    confusion = known.confusion()
    assert confusion.shape == (len(CLASSES),) * 2
    assert confusion.sum() == 4000
    assert confusion[2, 2] > 0.99 * confusion[2].sum()
    assert confusion[1].sum() == 0  # none was injected
    assert 0 < confusion[0, 0] < confusion[0].sum()
    bright = known.confusion(brighter=26.5), known.confusion(fainter=26.5)
    np.testing.assert_array_equal(bright[0] + bright[1], confusion)
    assert known.pulls(brighter=26.5)["y"].n + known.pulls(fainter=26.5)["y"].n == 4000


def test_tables_carry_units_and_settings(result):
    table = result.to_table()
    assert len(table) == len(MAGNITUDES) * len(SIZES)
    assert table["size_mas"].unit == u.mas
    assert table["mag"].unit == u.ABmag
    assert table["size_mas"][-1] == 40 * u.mas
    assert (
        (table["completeness_lo"] <= table["completeness"]) & (table["completeness"] <= table["completeness_hi"])
    ).all()
    assert table.meta["settings"]["band"] == "F150W"
    clumps = result.injections
    assert len(clumps) == len(result)
    assert clumps["x"].unit == u.pix
    assert clumps["flux"].unit == u.nJy
    assert "recovered" in repr(result)


@pytest.mark.parametrize("ending", ["json", "ecsv"])
def test_file_returns_the_same_to_the_last_digit(noise_field, tmp_path, ending):
    run = inject_recover(noise_field, magnitudes=[26.5, 28.5], sizes=[0.7], n=200, gain=2.0, rng=1)
    path = tmp_path / f"completeness.{ending}"
    run.to_file(path)
    again = Completeness.from_file(path)
    assert again._records.tobytes() == run._records.tobytes()
    assert again.settings == run.settings
    assert again.cautions == run.cautions
    np.testing.assert_array_equal(again.probability([27.0, 28.0], 0.7), run.probability([27.0, 28.0], 0.7))
    with pytest.raises(InputError, match="exists; give another name"):
        run.to_file(path)
    run.to_file(path, overwrite=True)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def damage(text, how):
    data = json.loads(text)
    how(data)
    return json.dumps(data)


def drop_column(data):
    del data["injections"]["flux"]


def shorten_column(data):
    data["injections"]["flux"].pop()


def spoil_column(data):
    data["injections"]["x"][0] = "__import__('os')"


def shift_node(data):
    data["injections"]["mag"][0] = 99.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[: len(text) // 2], "is damaged"),
        (lambda text: "", "is damaged"),
        (lambda text: "[]", "is damaged"),
        (lambda text: damage(text, lambda data: data.update(format="other")), "of another kind or a later version"),
        (lambda text: damage(text, lambda data: data.update(version=99)), "later version"),
        (lambda text: damage(text, drop_column), "no column flux"),
        (lambda text: damage(text, shorten_column), "has .* rows"),
        (lambda text: damage(text, spoil_column), "not of numbers"),
        (lambda text: damage(text, shift_node), "no node of the run"),
        (lambda text: damage(text, lambda data: data["settings"].pop("sizes")), "settings .* lack"),
    ],
)
def test_damaged_file_is_refused_in_words(make_result, tmp_path, change, words):
    path = tmp_path / "run.json"
    make_result([27.0, 28.0], [0.0], falling, per_cell=3).to_file(path)
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError, match=words):
        Completeness.from_file(path)


def test_file_of_another_ending_or_place_is_refused_in_words(result, tmp_path):
    with pytest.raises(InputError, match=r"end in \.json or \.ecsv"):
        result.to_file(tmp_path / "run.pickle")
    with pytest.raises(InputError, match=r"end in \.json or \.ecsv"):
        Completeness.from_file(tmp_path / "run")
    with pytest.raises(InputError, match="cannot be written"):
        result.to_file(tmp_path / "nowhere" / "run.json")
    with pytest.raises(InputError, match="cannot be read"):
        Completeness.from_file(tmp_path / "missing.json")
    (tmp_path / "other.ecsv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="damaged"):
        Completeness.from_file(tmp_path / "other.ecsv")


# ---- the selection of the mass function --------------------------------------------------------


def test_selection_scales_an_objects_magnitude_with_its_mass(result):
    mass, mag, size = np.array([3e6, 8e6]), np.array([28.2, 27.9]), np.array([0.5, 1.5])
    selection = result.selection(mass, mag, size)
    assert selection.n_objects == 2
    # The table's steps of 0.02 dex against nodes of 0.2 dex with bends: a hundredth.
    np.testing.assert_allclose(selection(mass), result.probability(mag, size), atol=0.01)
    # Ten times the mass is 2.5 mag brighter.
    np.testing.assert_allclose(selection(0.1 * mass), result.probability(mag + 2.5, size), atol=0.01)
    np.testing.assert_allclose(selection(10 * mass), result.probability(mag - 2.5, size), atol=0.01)
    with_unit = result.selection(mass * u.Msun, mag * u.ABmag, size * 20 * u.mas)
    np.testing.assert_allclose(with_unit.probability, selection.probability, rtol=1e-12)
    by_level = result.selection(mass, mag, size, background=[0, 2])
    assert by_level.probability.shape == selection.probability.shape


def test_incomplete_sample_behind_a_lens_gives_the_true_slope_with_its_selection_and_not_without(make_result):
    """Clusters of a power law at magnifications and mass-to-light ratios of their own, found by magnitude and size."""
    result = make_result(MAGNITUDES, SIZES, falling, per_cell=2000)
    rng = np.random.default_rng(5)
    beta, m_min, offsets = -1.9, 2e6, {True: [], False: []}
    for _ in range(20):
        mass = draw_masses(3000, mass_function("power_law", m_min), rng=rng, beta=beta)
        mu = 10 ** rng.uniform(0.3, 1.5, 3000)
        age_factor = 10 ** rng.normal(0, 0.2, 3000)
        # 2e6 Msun unmagnified are 31.5 mag: found only where the lens helps.
        mag = 31.5 - 2.5 * np.log10(mass / 2e6 * mu * age_factor)
        size = rng.uniform(0, 2, 3000)
        found = np.flatnonzero(rng.random(3000) < falling(mag, size))[:150]
        selection = result.selection(mass[found], mag[found], size[found])
        for known in (True, False):
            fit = fit_mass_function(mass[found], model="power_law", m_min=m_min, selection=selection if known else None)
            low, mid, high = fit.quantile("beta", [0.16, 0.5, 0.84])
            offsets[known].append((mid - beta) / ((high - low) / 2))
    print({known: np.mean(values) for known, values in offsets.items()})
    # The mean of twenty: 0.22 sigma; two of it. Without: the lost faint clusters flatten the slope by several.
    assert abs(np.mean(offsets[True])) < 0.45
    assert np.mean(offsets[False]) > 1.5


def test_catalogue_gives_the_same_selection_by_fluxes_magnitudes_and_half_light_radii(result):
    mass, mag, size = np.array([3e6, 8e6]), np.array([28.2, 27.9]), np.array([0.5, 1.5])
    expected = result.selection(mass, mag, size).probability
    catalog = QTable({"mass": mass * u.Msun, "r_eff_obs": size * 20 * np.sqrt(2 * np.log(2)) * u.mas})
    with pytest.raises(InputError, match="no column flux_f150w or mag_f150w"):
        result.selection_of(catalog)
    catalog["mag_f150w"] = mag * u.ABmag
    np.testing.assert_allclose(result.selection_of(catalog).probability, expected, rtol=1e-9)  # rounding
    catalog["flux_f150w"] = 10 ** ((31.4 - mag) / 2.5) / 1000 * u.uJy
    np.testing.assert_allclose(result.selection_of(catalog).probability, expected, rtol=1e-9)  # rounding
    catalog["flux_f150w"][1] = -1e-3 * u.uJy  # not detected there: it has no magnitude
    with pytest.raises(InputError, match="rows 1"):
        result.selection_of(catalog)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([1e6, 2e6], [28.0], [0.5, 0.5]), "one of each for each object"),
        (([1e6, -2e6], [28.0, 28.0], [0.5, 0.5]), "rows 1"),
        (([1e6, 2e6], [28.0, np.nan], [0.5, 0.5]), "rows 1"),
        (([1e6, 2e6], [28.0, 28.0], ["a", "b"]), "not numeric"),
    ],
)
def test_impossible_samples_are_refused_in_words(result, arguments, words):
    with pytest.raises(InputError, match=words):
        result.selection(*arguments)


def test_impossible_limits_of_the_selection_are_refused_in_words(result):
    with pytest.raises(InputError, match="the lower first"):
        result.selection([1e6], [28.0], [0.5], m_min=1e8, m_max=1e7)
