"""Published sizes under other lens models: closed forms, and the clumps of SMACS J0723 as they were published."""

import math

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable

from sc_lab.catalog import flags, read_catalog, values
from sc_lab.errors import InputError
from sc_lab.lensing import read_lenstool
from sc_lab.lensing.rescaling import rederive, rescale_sizes
from sc_lab.properties import lens_models, reference_values

#: Half-light radius of a Gaussian of 0.4 pixels of 20 mas: the resolution limit of Claeyssens et al. [mas].
LIMIT = 0.4 * 20.0 * math.sqrt(2.0 * math.log(2.0))


def intrinsic(observed, kind, magnification):
    """Return R_obs over what the size class divides by."""
    mu, mu_t, mu_r = (np.abs(each) for each in magnification)
    return observed / np.where(kind == "resolved", np.sqrt(mu), np.maximum(mu_t, mu_r))


@pytest.fixture
def published(cluster):
    """Return a catalogue whose sizes were derived with the lens `cluster`, and its observed sizes in mas."""
    rng = np.random.default_rng(5)
    n = 60
    ra, dec = cluster.to_sky(*rng.uniform(-25, 25, (2, n)))
    z = rng.uniform(1.0, 6.0, n)
    kind = np.array(["resolved", "one_axis", "unresolved"])[np.arange(n) % 3]
    observed = np.where(kind == "unresolved", LIMIT, rng.uniform(10, 60, n))
    magnification = cluster.magnification(ra, dec, z)
    pc = cluster.cosmology.angular_diameter_distance(z).to_value(u.pc) * math.pi / 180 / 3.6e6
    table = QTable({"ra": ra * u.deg, "dec": dec * u.deg, "z": z, "mu": np.abs(magnification.mu)})
    table["r_eff"] = intrinsic(observed, kind, magnification) * pc * u.pc
    table["r_eff_is_limit"] = kind == "unresolved"
    return table, kind, observed * pc


def test_sizes_go_with_the_magnification_of_their_class():
    out = rescale_sizes(
        [10.0, 10.0, 10.0] * u.pc,
        ["resolved", "one_axis", "unresolved"],
        mu=-4.0,
        mu_new=16.0,
        stretch=3.0,
        stretch_new=-12.0,
    )
    np.testing.assert_allclose(out, [5.0, 2.5, 2.5], rtol=1e-15)


def test_without_a_stretch_every_size_goes_with_the_root_of_the_magnification():
    kinds = ["resolved", "one_axis", "unresolved"]
    np.testing.assert_allclose(rescale_sizes(np.full(3, 8.0), kinds, mu=9.0, mu_new=1.0), 24.0, rtol=1e-15)
    out = rescale_sizes(np.full(3, 8.0), kinds, mu=9.0, mu_new=1.0, stretch=np.nan, stretch_new=2.0)
    np.testing.assert_allclose(out, 24.0, rtol=1e-15)


def test_nothing_measured_stays_so():
    out = rescale_sizes([np.nan, 5.0, 5.0], "resolved", mu=[2.0, np.nan, 2.0], mu_new=2.0)
    assert np.isnan(out[:2]).all()
    assert out[2] == 5.0


def test_an_unknown_size_class_is_named():
    with pytest.raises(InputError, match=r"'round'.*'one_axis'"):
        rescale_sizes([1.0], ["round"], mu=1.0, mu_new=1.0)


def test_a_catalogue_comes_back_under_its_own_lens(published, cluster):
    table, kind, _ = published
    out = rederive(table, {"m1": cluster}, reference="m1", size_class=kind)
    # The same arithmetic twice.
    np.testing.assert_allclose(out["mu_m1"], table["mu"], rtol=1e-12)
    np.testing.assert_allclose(out["r_eff_m1"].to_value(u.pc), table["r_eff"].to_value(u.pc), rtol=1e-12)
    assert "mu_m1" not in table.colnames


@pytest.mark.parametrize("limit", [None, LIMIT])
def test_sizes_under_another_lens_are_those_of_the_observed_sizes(published, cluster, smooth, limit):
    table, kind, observed = published
    models = {"m1": cluster, "m2": smooth}
    out = rederive(table, models, reference="m1", size_class=kind, observed_limit=limit)
    place = (table["ra"], table["dec"], table["z"])
    truth = intrinsic(observed, kind, smooth.magnification(*place))
    # Closed form; the two lenses share their cosmology.
    np.testing.assert_allclose(out["r_eff_m2"].to_value(u.pc), truth, rtol=1e-10)


def test_a_limit_without_a_number_is_derived_from_the_observed_one(published, cluster):
    table, kind, _ = published
    lost = table.copy()
    lost["r_eff"][kind == "unresolved"] = np.nan * u.pc
    out = rederive(lost, {"m1": cluster}, reference="m1", size_class=kind, observed_limit=LIMIT * u.mas)
    np.testing.assert_allclose(out["r_eff_m1"].to_value(u.pc), table["r_eff"].to_value(u.pc), rtol=1e-10)


def test_a_size_below_the_limit_was_resolved_along_one_axis(published, cluster, smooth):
    """Divided by the larger stretch an observed size above the limit may seem smaller than the limit over sqrt|mu|."""
    table, kind, _ = published
    said = np.where(kind == "one_axis", "resolved", kind)
    a, b = (
        rederive(table, {"m1": cluster, "m2": smooth}, reference="m1", size_class=each, observed_limit=LIMIT)
        for each in (kind, said)
    )
    pc = cluster.cosmology.angular_diameter_distance(table["z"]).to_value(u.pc) * math.pi / 180 / 3.6e6
    below = (kind == "one_axis") & (table["r_eff"].value * np.sqrt(table["mu"]) < LIMIT * pc)
    assert below.sum() >= 2  # success trivial otherwise
    np.testing.assert_array_equal(a["r_eff_m2"][below], b["r_eff_m2"][below])


def test_errors_are_the_widths_of_the_realisations_about_the_best_model(published, cluster):
    table, kind, _ = published
    out = rederive(table, {"m1": cluster}, size_class=kind, n_draws=40, rng=2)
    drawn, _ = cluster.magnification_draws(table["ra"], table["dec"], table["z"], n_draws=40, rng=2)
    low, middle, high = np.quantile(np.abs(drawn), [0.158655, 0.5, 0.841345], axis=0)
    np.testing.assert_allclose(out["mu_m1_err_lo"] / out["mu_m1"], 1 - low / middle, rtol=1e-10)
    np.testing.assert_allclose(out["mu_m1_err_hi"] / out["mu_m1"], high / middle - 1, rtol=1e-10)
    assert (out["mu_m1_err_lo"] > 0).all()


def test_the_population_takes_the_models_up(published, cluster, smooth):
    """The columns are the ones that the choice of a lens model reads."""
    table, kind, _ = published
    out = rederive(table, {"m1": cluster, "m2": smooth}, reference="m1", size_class=kind)
    assert lens_models(out) == ("", "m1", "m2")
    np.testing.assert_allclose(reference_values(out, "m2").mu, out["mu_m2"], rtol=1e-15)
    both = kind == "resolved"
    np.testing.assert_allclose(
        reference_values(out, "m2").r_eff[both], out["r_eff_m2"].to_value(u.pc)[both], rtol=1e-12
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"models": {}}, "names"),
        ({"models": {"M 1": None}}, "lower-case"),
        ({"reference": "m7"}, "'m7'.*'m1'"),
        ({"size_class": ["resolved"]}, "60 rows"),
    ],
)
def test_bad_input_is_a_sentence(published, cluster, change, said):
    table, _, _ = published
    with pytest.raises(InputError, match=said):
        rederive(table, **({"models": {"m1": cluster}} | change))


def test_the_size_classes_of_the_catalogue_hold(published, smooth):
    table, kind, _ = published
    told = table.copy()
    told["size_class"] = np.where(kind == "resolved", "", kind)
    a, b = (rederive(each, {"m2": smooth}, size_class=given) for each, given in ((told, None), (table, kind)))
    np.testing.assert_array_equal(a["r_eff_m2"], b["r_eff_m2"])


def test_a_missing_column_is_named(published, cluster):
    table, _, _ = published
    table.remove_column("z")
    with pytest.raises(InputError, match="no column z"):
        rederive(table, {"m1": cluster})


# ---- the published clumps of SMACS J0723 ------------------------------------------------------------------------
@pytest.fixture(scope="module")
def smacs(real_data):
    """Return the 223 clumps of Claeyssens et al. 2023 under both models of Mahler et al. 2022, and the models."""
    path = real_data / "reference/highz/clumps_smacs0723_claeyssens_2023.ecsv"
    folders = {f"m{k}": real_data / f"lensing/smacs0723_mahler22_iclv{k}" for k in (1, 2)}
    for each in (path, *folders.values()):
        if not each.exists():
            pytest.skip(f"SC_LAB_REAL_DATA has no {each.name}")
    models = {name: read_lenstool(folder, name=name) for name, folder in folders.items()}
    table = read_catalog(path, columns="claeyssens2023")
    return rederive(table, models, reference="m1", observed_limit=LIMIT), models


def spread(ratio):
    """Return median and half the 68 % interval [dex]."""
    low, middle, high = np.quantile(np.log10(ratio), [0.158655, 0.5, 0.841345])
    return 10.0**middle, 0.5 * (high - low)


@pytest.mark.real_data
def test_published_magnifications_are_those_of_the_first_model(smacs):
    """Median ratio 0.999 and scatter 0.0041 dex for all 223; 0.0022 dex where the redshift is spectroscopic."""
    table, _ = smacs
    ratio = values(table, "mu_m1") / values(table, "mu")
    assert ratio.shape == (223,)
    middle, scatter = spread(ratio)
    # 0.1 % is what rounding to two decimals leaves at mu of about 5. The rest of the scatter is the redshifts.
    assert middle == pytest.approx(0.9986, abs=0.001)
    assert scatter < 0.006
    assert np.mean(np.abs(ratio - 1) < 0.1) > 0.95
    # Systems 4, 6, 17 and 19 have no spectrum. With the redshifts printed beside them they differ by up to 36 %;
    # others fit better (z = 2.12 instead of 2.19 brings system 4 to 0.2 % in the median).
    system = np.char.partition(np.asarray(table["image"]).astype(str), ".")[:, 0]
    known = ~np.isin(system, ["S4", "S6", "S17", "S19"])
    assert known.sum() == 167
    middle, scatter = spread(ratio[known])
    assert middle == pytest.approx(0.9989, abs=0.001)
    assert scatter < 0.003
    # Coordinates have five or six decimals, up to 0.02 arcsec: more than 5 % only next to a critical curve.
    off = known & (np.abs(ratio - 1) > 0.05)
    assert values(table, "mu")[off].min() > 100
    assert off.sum() <= 4


@pytest.mark.real_data
def test_published_errors_have_the_width_of_the_posterior(smacs):
    table, _ = smacs
    ours = 0.5 * (values(table, "mu_m1_err_lo") + values(table, "mu_m1_err_hi")) / values(table, "mu_m1")
    theirs = 0.5 * (values(table, "mu_err_lo") + values(table, "mu_err_hi")) / values(table, "mu")
    # 100 samples know a width to 7 %; published errors of 0.0 (|mu| below 1.5) are left out.
    told = theirs > 0
    assert told.sum() > 200
    assert np.median(ours[told] / theirs[told]) == pytest.approx(1.0, abs=0.1)


@pytest.mark.real_data
def test_every_published_size_limit_is_the_resolution_limit_over_the_stretch(smacs):
    """All 38 are 0.4 pixels of 20 mas through the first model, cut to whole parsec."""
    table, _ = smacs
    limit = flags(table, "r_eff_is_limit")
    assert limit.sum() == 38
    published = np.nan_to_num(values(table, "r_eff")[limit])  # one is printed as 0 pc, which is no number to keep
    # Nothing is fitted here: one number for all, and the paper's cosmology.
    np.testing.assert_array_equal(np.floor(table["r_eff_m1"].to_value(u.pc)[limit]), published)


@pytest.mark.real_data
def test_published_sizes_are_those_of_the_first_model(smacs):
    table, _ = smacs
    size = ~flags(table, "r_eff_is_limit")
    assert size.sum() == 185
    middle, scatter = spread(table["r_eff_m1"].to_value(u.pc)[size] / values(table, "r_eff")[size])
    # Sizes go as 1/sqrt|mu|: half of the median and of the scatter of the magnifications.
    assert middle == pytest.approx(1.0, abs=0.002)
    assert scatter < 0.003


@pytest.mark.real_data
def test_the_final_model_is_another_one(smacs):
    """Between the two published models |mu| differs by 4 % in the median with 0.056 dex, which sizes inherit by half."""
    table, _ = smacs
    middle, scatter = spread(values(table, "mu_m2") / values(table, "mu"))
    # Measured 0.955 and 0.056 dex; the files are fixed, so the tolerance is that of the quantiles' definition.
    assert middle == pytest.approx(0.955, abs=0.005)
    assert scatter == pytest.approx(0.056, abs=0.005)


@pytest.mark.real_data
def test_the_knots_of_the_sparkler(smacs, real_data):
    table, models = smacs
    # The clumps in the second image of system 2 are published with 11.48 to 12.57.
    image = np.asarray(table["image"]).astype(str) == "S2.2"
    ours, theirs = values(table, "mu_m1")[image], values(table, "mu")[image]
    assert image.sum() == 27
    np.testing.assert_allclose(ours, theirs, rtol=0.01)
    # The hand-marked knots around it reach further: stated as 8.8 to 15.2 on a map whose pixels differ by up to 5 %.
    knots = QTable.read(real_data / "reference/highz/sparkler_positions_canucs_2022.ecsv")
    mu = np.abs(models["m1"].magnification(knots["ra"], knots["dec"], 1.3779).mu)
    assert len(knots) == 32
    assert mu.min() == pytest.approx(8.8, rel=0.05)
    assert mu.max() == pytest.approx(15.2, rel=0.05)
