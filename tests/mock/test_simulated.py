"""Simulated clusters behind a lens: their light adds up, their images lie right, and the pipeline finds them again."""

import astropy.units as u
import numpy as np
import pytest

from sc_lab.errors import InputError
from sc_lab.images import Psf
from sc_lab.mock import make_snapshot, measure_simulated, observe_simulated
from sc_lab.mock.lens import make_lens
from sc_lab.mock.psfs import synthesise_psf
from sc_lab.mock.recovery import recovery_table
from sc_lab.simulations import Snapshot, find_groups, measure_clusters

BANDS = ("F115W", "F150W", "F200W", "F277W", "F356W", "F444W")


@pytest.fixture(scope="module")
def psfs():
    stamps = {band: synthesise_psf(band).sampled(0.02)[50:251, 50:251] for band in BANDS}
    return {b: Psf(stamp=s, pixel_scale=0.02, energy_fraction=s.sum(), band=b) for b, s in stamps.items()}


@pytest.fixture(scope="module")
def lens():
    return make_lens(np.empty(0), np.empty(0), np.empty(0))


@pytest.fixture(scope="module")
def simulated():
    snapshot = make_snapshot(1)
    groups = find_groups(snapshot, "SGP")
    return snapshot, groups, measure_clusters(snapshot, groups, min_stars=50)


@pytest.fixture(scope="module")
def field(simulated, lens, psfs):
    options = {"z": 4.0, "n": 12, "size": 12 * u.arcsec, "offset": (6.0, 6.0), "deeper": 4.0}
    return observe_simulated(*simulated, lens, psfs, **options)


def test_truth_is_that_of_the_stars(field, simulated):
    snapshot, groups, clusters = simulated
    truth = field.truth
    assert len(np.unique(truth["source"])) >= 8
    for row in truth[:5]:
        members = groups.members(int(clusters["group"][row["cluster"]]), 4)
        mass = snapshot.stars["Masses"][members].sum()
        assert row["mass"].to_value("solMass") == pytest.approx(mass.to_value("solMass"), rel=1e-12)
        # From one side and about the same centre: below the radius in space, and above a third of it.
        assert 0.3 < row["r_eff_mass"] / clusters["r_half"][row["cluster"]] <= 1 + 1e-9
    np.testing.assert_allclose(truth["sigma_mass"], truth["mass"] / (2 * np.pi * truth["r_eff"] ** 2), rtol=1e-12)


def test_images_of_one_source_differ_by_their_magnification_alone(field):
    truth = field.truth
    per_mu = truth["flux_f200w"].value / np.abs(truth["mu"])
    for source in np.unique(truth["source"]):
        assert np.ptp(per_mu[truth["source"] == source]) < 1e-9 * per_mu.max()


def test_painted_light_is_the_light_of_the_stars(field, psfs):
    """The sum over the mosaic less noise; what lies outside the PSF's stamp and the field is below 3 %."""
    band = field["F200W"]
    data, error = band.cutout(0, 0, band.shape[1], band.shape[0])
    wanted = field.truth["flux_f200w"].value.sum() * psfs["F200W"].energy_fraction
    assert abs(data.sum() - wanted) < 0.03 * wanted + 4 * np.sqrt((error**2).sum())


def test_the_same_seed_gives_the_same_pixels_and_another_one_others(simulated, lens, psfs, field):
    options = {"z": 4.0, "n": 12, "size": 12 * u.arcsec, "offset": (6.0, 6.0), "deeper": 4.0}
    one = {"F150W": psfs["F150W"]}
    first, again, other = (observe_simulated(*simulated, lens, one, seed=k, **options) for k in (1, 1, 2))
    pixels = [each["F150W"].cutout(0, 0, 50, 50)[0] for each in (first, again, other)]
    assert np.array_equal(pixels[0], pixels[1])
    assert not np.array_equal(pixels[0], pixels[2])
    assert np.array_equal(first.truth["mass"], field.truth["mass"])  # whatever the bands


def test_what_cannot_be_observed_is_said(simulated, lens, psfs):
    snapshot, groups, clusters = simulated
    with pytest.raises(InputError, match="no clusters to observe"):
        observe_simulated(snapshot, groups, clusters[:0], lens, psfs)
    with pytest.raises(InputError, match="not behind the lens"):
        observe_simulated(snapshot, groups, clusters, lens, psfs, z=0.2)
    stars = {name: snapshot.stars.code(name) for name in ("Coordinates", "Velocities", "Masses")}
    ageless = Snapshot.from_arrays(
        {"stars": stars}, box_size=snapshot.header.box_size, redshift=12.0, h=snapshot.header.h
    )
    with pytest.raises(InputError, match="when its stars formed; give ages="):
        observe_simulated(ageless, groups, clusters, lens, psfs)
    for wrong, said in (
        ({"ages": 1e7}, "ages from 0"),
        ({"ages": [1, 2, 3]}, "3 values"),
        ({"size": -3}, "above 0"),
        ({"size": 0.5}, "at least 80"),
    ):
        with pytest.raises(InputError, match=said):
            observe_simulated(snapshot, groups, clusters, lens, psfs, **({"size": 8.0, "offset": (6.0, 6.0)} | wrong))


@pytest.mark.slow
def test_more_than_a_hundred_clusters_come_back_with_their_masses_sizes_and_densities(simulated, lens, psfs):
    """Through detection, fit, lens and SED; bright ones without bias beyond what one screen and one burst leave."""
    field = observe_simulated(*simulated, lens, psfs, z=4.0, n=130, size=30 * u.arcsec, offset=(6.0, 6.0), deeper=4.5)
    found = measure_simulated(field)
    assert len(np.unique(field.truth["source"])) >= 100
    bright = found["snr"] > 30
    assert found["detected"][bright].mean() > 0.9
    table = recovery_table(found["snr", "log_mass", "log_r_eff", "log_sigma"], edges=(10, 30, 100, 1e5))
    # Stars of one cluster formed over some ten million years, and their model over one: masses 0.05 dex high with
    # perfect photometry, up to 0.1 with the prior's dust at these S/N.
    assert abs(table["log_mass_median"][1]) < 0.15
    assert table["log_mass_width"][1] < 0.2
    # Clusters are no Gaussians: the core of a Plummer sphere is fitted, its wings lie in the background.
    assert abs(table["log_r_eff_median"][2]) < 0.25
    limits = found["is_limit"]
    np.testing.assert_array_equal(np.isfinite(found["r_eff_limit"]), limits)
    assert (found["r_eff_limit"] >= found["r_eff"])[limits].sum() == found["limit_holds"].sum()
    # Two-sigma limits hold for 95 of 100 points, and above for clusters that they are too wide for.
    assert found["limit_holds"][limits].mean() > 0.9
    # These are points to the telescope, of which the test of extension takes one in twelve for extended; some are.
    faint = found["detected"] & (found["snr"] > 5) & (found["snr"] < 50)
    assert limits[faint].mean() > 0.75


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"seed": -1}, "seed is -1; give a whole number from 0 on"),
        ({"deeper": np.nan}, "deeper is nan; give a number of magnitudes"),
        ({"z": "four"}, "z is 'four'; give one redshift"),
        ({"n": 0}, "a whole number from 1 on"),
        ({"size": "wide"}, "side of the field in arcsec"),
        ({"size": 3 * u.kpc}, "does not convert"),
        ({"offset": 3.0}, "two offsets from the lens"),
        ({"metallicity": -0.1}, "a mass fraction"),
        ({"a_v": -1.0}, "a number of magnitudes from 0 on"),
        ({"reference": "K"}, "the reference is K"),
        ({"snapshot": "snap.hdf5"}, "give a Snapshot"),
        ({"groups": None}, "give a Groups"),
        ({"clusters": [1]}, "give a table"),
        ({"lens": 0.35}, "give a lens model"),
        ({"psfs": {}}, "a mapping of bands to Psf"),
    ],
)
def test_arguments_that_cannot_be_are_said(simulated, lens, psfs, wrong, said):
    snapshot, groups, clusters = simulated
    given = {"snapshot": snapshot, "groups": groups, "clusters": clusters, "lens": lens, "psfs": psfs, "z": 4.0}
    with pytest.raises(InputError, match=said):
        observe_simulated(**(given | wrong))


def test_fields_without_simulated_clusters_are_not_measured_as_such():
    with pytest.raises(InputError, match="no truth of simulated clusters"):
        measure_simulated("field")


def test_wind_cells_have_no_light_whatever_ages_are_given(simulated, lens, psfs):
    snapshot, groups, clusters = simulated
    members = groups.members(int(clusters["group"][0]), 4)
    fields = {name: np.array(snapshot.stars.code(name)) for name in ("Coordinates", "Velocities", "Masses")}
    fields["GFM_StellarFormationTime"] = np.full(len(snapshot.stars), 0.05)
    fields["GFM_StellarFormationTime"][members[::2]] = -1.0
    windy = Snapshot.from_arrays(
        {"stars": fields}, box_size=snapshot.header.box_size, redshift=12.0, h=snapshot.header.h, omega_matter=0.27,
        omega_lambda=0.73,
    )  # fmt: skip
    options = {"z": 4.0, "n": 1, "size": 12 * u.arcsec, "offset": (6.0, 6.0), "deeper": 4.0, "ages": 20.0}
    field = observe_simulated(windy, groups, clusters[:1], lens, {"F150W": psfs["F150W"]}, **options)
    held = windy.stars["Masses"].to_value("solMass")[members[1::2]].sum()
    assert field.truth["mass"][0].to_value("solMass") == pytest.approx(held, rel=1e-9)
