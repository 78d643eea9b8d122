"""De-lensing: the size rules, what must not depend on magnification, joint errors, flags, models side by side."""

import astropy.units as u
import numpy as np
import pytest
from astropy.cosmology import FlatLambdaCDM
from astropy.table import QTable

from sc_lab.catalog import validate
from sc_lab.catalog.columns import find_column
from sc_lab.cosmology import default_cosmology
from sc_lab.errors import InputError
from sc_lab.lensing import DPIE, LensFlag, ParametricLens, delens, source_covariance

HALF_LIGHT = np.sqrt(2 * np.log(2))
SCALE = 0.02


@pytest.fixture(scope="module")
def fits(cluster):
    """Return 60 fitted clumps of all classes around the cluster."""
    rng = np.random.default_rng(2)
    n = 60
    x, y = rng.uniform(-25, 25, (2, n))
    ra, dec = cluster.to_sky(x, y)
    std_maj, std_min, theta = rng.uniform(0.8, 2.0, n), rng.uniform(0.4, 0.8, n), rng.uniform(0, np.pi, n)
    c, s = np.cos(theta), np.sin(theta)
    cov = [
        std_maj**2 * c**2 + std_min**2 * s**2,
        std_maj**2 * s**2 + std_min**2 * c**2,
        (std_maj**2 - std_min**2) * s * c,
    ]
    r_eff = HALF_LIGHT * np.sqrt(std_maj * std_min) * SCALE * 1000
    return QTable(
        {
            "id": [f"c{i}" for i in range(n)],
            "ra": ra * u.deg,
            "dec": dec * u.deg,
            "z": rng.uniform(1.0, 6.0, n),
            "cov_xx": cov[0] * u.pix**2,
            "cov_yy": cov[1] * u.pix**2,
            "cov_xy": cov[2] * u.pix**2,
            "r_eff_obs": r_eff * u.mas,
            "r_eff_obs_err": 0.1 * r_eff * u.mas,
            "r_eff_obs_limit": np.full(n, 12.0) * u.mas,
            "size_class": np.array(["resolved", "one_axis", "unresolved"])[np.arange(n) % 3],
        },
        meta={"photometry": {"pixel_scale": SCALE}},
    )


@pytest.fixture(scope="module")
def best(cluster):
    """Return the cluster without its posterior: what one model says without errors."""
    return ParametricLens(cluster.potentials, z_lens=0.35, ra=cluster.ra, dec=cluster.dec, name="best", rms=0.0)


def _parsec(z):
    return default_cosmology().angular_diameter_distance(z).to_value("pc") / (180 / np.pi * 3.6e6)


def test_sizes_follow_the_rule_of_their_class(fits, best):
    out = delens(fits, best)
    mu, mu_t, mu_r = best.magnification(fits["ra"], fits["dec"], fits["z"])
    largest = np.maximum(np.abs(mu_t), np.abs(mu_r))
    observed = fits["r_eff_obs"].to_value("mas") * _parsec(fits["z"])
    kind = np.array(fits["size_class"])
    truth = {
        "resolved": observed / np.sqrt(np.abs(mu)),
        "one_axis": observed / largest,
        "unresolved": 12.0 * _parsec(fits["z"]) / largest,
    }
    for name, value in truth.items():
        here = kind == name
        # Medians of a log-normal of 10 % from 100 draws: 1.25 x 10 % / sqrt(100) each, four of them.
        tolerance = 1e-12 if name == "unresolved" else 0.05
        np.testing.assert_allclose(out["r_eff"].to_value("pc")[here], value[here], rtol=tolerance)
    np.testing.assert_array_equal(out["r_eff_is_limit"], kind == "unresolved")
    assert np.isnan(out["r_eff_err_lo"][kind == "unresolved"]).all()


def test_inside_the_radial_curve_the_larger_stretch_counts(best):
    lens = ParametricLens([DPIE(0, 0, 1200.0, core=5.0, cut=300.0)], z_lens=0.3, ra=10.0, dec=5.0, rms=0.0)
    row = QTable({"id": ["a"], "ra": [10.0002] * u.deg, "dec": [5.0] * u.deg, "size_class": ["one_axis"]})
    row["r_eff_obs"], row["r_eff_obs_err"] = [30.0] * u.mas, [0.0] * u.mas
    _, mu_t, mu_r = lens.magnification(10.0002, 5.0, 3.0)
    assert abs(mu_r) > abs(mu_t)  # success trivial otherwise
    out = delens(row, lens, 3.0)
    assert out["r_eff"].to_value("pc")[0] == pytest.approx(30 * _parsec(3.0) / abs(mu_r), rel=1e-9)


def test_surface_density_of_resolved_clumps_does_not_depend_on_magnification(fits, best):
    resolved = fits[np.array(fits["size_class"]) == "resolved"]
    resolved["r_eff_obs_err"] = 0.0 * u.mas
    flux = np.random.default_rng(1).uniform(1, 100, len(resolved))
    out = delens(resolved, best)
    intrinsic = flux / np.abs(out["best_mu"]) / (2 * np.pi * out["r_eff"].to_value("pc") ** 2)
    observed = flux / (2 * np.pi * (resolved["r_eff_obs"].to_value("mas") * _parsec(resolved["z"])) ** 2)
    np.testing.assert_allclose(intrinsic, observed, rtol=1e-12)


def test_surface_density_along_one_axis_scales_as_the_ratio_of_the_stretches(fits, best):
    thin = fits[np.array(fits["size_class"]) == "one_axis"]
    thin["r_eff_obs_err"] = 0.0 * u.mas
    out = delens(thin, best)
    mu, mu_t, mu_r = (np.abs(each) for each in best.magnification(thin["ra"], thin["dec"], thin["z"]))
    largest, smallest = np.maximum(mu_t, mu_r), np.minimum(mu_t, mu_r)
    observed = 1 / (thin["r_eff_obs"].to_value("mas") * _parsec(thin["z"])) ** 2
    np.testing.assert_allclose(1 / mu / out["r_eff"].to_value("pc") ** 2, observed * largest / smallest, rtol=1e-9)


def test_the_source_plane_shape_shrinks_by_the_magnification(fits, best):
    out = delens(fits, best)
    area = out["source_std_maj"].to_value("mas") * out["source_std_min"].to_value("mas")
    det = fits["cov_xx"].value * fits["cov_yy"].value - fits["cov_xy"].value ** 2
    np.testing.assert_allclose(area, np.sqrt(det) * (1000 * SCALE) ** 2 / np.abs(out["best_mu"]), rtol=1e-9)


def test_a_round_source_becomes_round_again(best):
    ra, dec = best.to_sky(12.0, -7.0)
    k, g1, g2 = best.jacobian(ra, dec, 3.0)
    a = np.array([[1 - k - g1, -g2], [-g2, 1 - k + g1]])
    image = np.linalg.inv(a) @ np.linalg.inv(a).T
    np.testing.assert_allclose(source_covariance(image, k, g1, g2), np.eye(2), rtol=0, atol=1e-9)
    # The same through the table, on pixels of a turned image.
    turn = SCALE * np.array([[0.8, -0.6], [0.6, 0.8]])
    pixel = np.linalg.inv(turn) @ image @ np.linalg.inv(turn).T
    row = QTable({"ra": [ra] * u.deg, "dec": [dec] * u.deg})
    row["cov_xx"], row["cov_yy"], row["cov_xy"] = pixel[:1, 0], pixel[1:, 1], pixel[:1, 1]
    out = delens(row, best, 3.0, pixel_to_sky=turn, finite_size=False)
    assert out["source_std_maj"].to_value("mas")[0] == pytest.approx(1000.0, rel=1e-8)
    assert out["source_std_min"].to_value("mas")[0] == pytest.approx(1000.0, rel=1e-8)


def test_errors_are_those_of_the_realisations(fits, cluster):
    out = delens(fits, cluster, n_draws=40, rng=9, keep_draws=True)
    mu, mu_t = cluster.magnification_draws(fits["ra"], fits["dec"], fits["z"], n_draws=40, rng=9)
    low, middle, high = np.quantile(np.abs(mu), (0.158655, 0.5, 0.841345), axis=0)
    np.testing.assert_allclose(out["mu"], middle, rtol=1e-12)
    np.testing.assert_allclose(out["mu_err_lo"], middle - low, rtol=1e-9)
    np.testing.assert_allclose(out["mu_err_hi"], high - middle, rtol=1e-9)
    np.testing.assert_allclose(out["mu_t"], np.median(np.abs(mu_t), axis=0), rtol=1e-12)
    np.testing.assert_array_equal(np.abs(out["draws_mu"]), np.abs(mu).T)
    assert out["r_eff_draws"].shape == (60, 40)


def test_size_and_magnification_are_drawn_together(fits, cluster):
    exact = fits.copy()
    exact["r_eff_obs_err"] = 0.0 * u.mas
    out = delens(exact, cluster, n_draws=40, keep_draws=True)
    resolved = np.array(fits["size_class"]) == "resolved"
    constant = out["r_eff_draws"].to_value("pc")[resolved] * np.sqrt(out["draws_mu"][resolved])
    np.testing.assert_allclose(constant, constant[:, :1] * np.ones(40), rtol=1e-12)


def test_a_row_added_later_has_the_numbers_of_the_whole(fits, cluster):
    whole, one = delens(fits, cluster), delens(fits[17:18], cluster)
    for name in one.colnames:
        a, b = (np.asarray(getattr(t[name], "value", t[name])) for t in (whole[17:18], one))
        np.testing.assert_array_equal(a, b, err_msg=name)


def test_models_stand_side_by_side_in_registry_columns(fits, cluster, best, smooth):
    out = delens(fits, [cluster, best, smooth])
    assert {"mu", "mu_t", "mu_err_lo", "mu_best", "mu_t_best", "mu_smooth", "mu_t_smooth"} <= set(out.colnames)
    np.testing.assert_allclose(out["mu_best"], np.abs(out["best_mu"]), rtol=1e-12)
    every = np.stack([out["mu"], out["mu_best"], out["mu_smooth"]])
    np.testing.assert_allclose(out["lens_spread"], every.max(axis=0) / every.min(axis=0))
    named = delens(fits, {"M1": cluster, "M2": best})
    assert "mu_m2" in named.colnames
    catalog = QTable({"id": fits["id"], "z": fits["z"]})
    for name in named.colnames:
        if find_column(name) is not None:
            catalog[name] = named[name]
    # The catalogue's own check takes every column as it is.
    assert {"mu", "mu_m2", "mu_t_m2", "r_eff", "r_eff_is_limit"} <= set(validate(catalog).colnames)


def test_flags_say_what_is_to_be_known(cluster, smooth, best):
    lines = cluster.critical_curves(3.0, step=0.05)
    ra, dec = max(lines, key=len)[10]
    far = cluster.to_sky(28.0, 28.0)
    rows = QTable({"ra": [ra, far[0], far[0], far[0]] * u.deg, "dec": [dec, far[1], far[1], far[1]] * u.deg})
    flags = [LensFlag(int(each)) for each in delens(rows, cluster, [3.0, 3.0, 0.2, np.nan])["lens_flags"]]
    assert LensFlag.NEAR_CRIT in flags[0]
    assert LensFlag.PARITY_MIXED in flags[0]
    assert flags[1] == LensFlag.NONE
    assert flags[2] == LensFlag.FOREGROUND
    assert flags[3] == LensFlag.NO_REDSHIFT
    stand_in = ParametricLens(best.potentials, z_lens=0.35, ra=best.ra, dec=best.dec, rms=0.6)
    flags = [LensFlag(int(each)) for each in delens(rows[:2], stand_in, 3.0)["lens_flags"]]
    assert LensFlag.GRADIENT_ERROR | LensFlag.CAPPED | LensFlag.NEAR_CRIT in flags[0]
    assert flags[1] == LensFlag.GRADIENT_ERROR
    out = delens(rows, cluster, [3.0, 3.0, 0.2, np.nan])
    assert out["mu"][2] == out["mu_t"][2] == 1.0
    assert np.isnan(out["mu"][3])


def test_a_large_image_across_the_critical_curve_has_a_finite_magnification(best):
    lines = best.critical_curves(3.0, step=0.05)
    ra, dec = max(lines, key=len)[10]
    row = QTable({"ra": [ra, *best.to_sky(28.0, 28.0)[:1]] * u.deg, "dec": [dec, best.to_sky(28.0, 28.0)[1]] * u.deg})
    row["cov_xx"], row["cov_yy"], row["cov_xy"] = [4.0, 4.0], [4.0, 4.0], [0.0, 0.0]
    out = delens(row, best, 3.0, pixel_scale=0.02)
    flags = [LensFlag(int(each)) for each in out["lens_flags"]]
    assert LensFlag.CROSSES_CRIT | LensFlag.FINITE_SIZE in flags[0]
    assert out["effective_mu"][0] < 0.5 * np.abs(out["best_mu"][0])
    assert LensFlag.FINITE_SIZE not in flags[1]
    # Away from the curve the mean over 40 mas is that of the centre to second order.
    assert out["effective_mu"][1] == pytest.approx(abs(out["best_mu"][1]), rel=1e-4)


def test_limits_can_be_read_in_three_ways(fits, best):
    one = fits[2:3]
    scale = _parsec(one["z"])[0] / np.max(np.abs(best.magnification(one["ra"], one["dec"], one["z"])[1:]))
    for options, observed in (
        ({}, 12.0),
        ({"limit": "fixed"}, HALF_LIGHT * 0.4 * 20.0),
        ({"limit": "psf", "psf_fwhm": 58 * u.mas}, 29.0),
    ):
        assert delens(one, best, **options)["r_eff"].to_value("pc")[0] == pytest.approx(observed * scale, rel=1e-9)
    # 9.42 mas are 75, 79, 66, 54, 45 pc at z = 1, 2, 4, 6, 8 in the default cosmology.
    np.testing.assert_allclose(9.42 * _parsec(np.array([1.0, 2, 4, 6, 8])), [75, 79, 66, 54, 45], atol=0.6)


def test_the_cosmology_of_the_parsec_can_be_chosen(fits, best):
    a, b = delens(fits, best), delens(fits, best, cosmology=FlatLambdaCDM(35.0, 0.3, Tcmb0=0.0))
    np.testing.assert_allclose(b["r_eff"].to_value("pc"), 2 * a["r_eff"].to_value("pc"), rtol=1e-9)


def test_positions_alone_give_magnifications_alone(best):
    row = QTable({"ra": [342.181] * u.deg, "dec": [-44.531] * u.deg})
    out = delens(row, best, 2.0)
    assert "r_eff" not in out.colnames
    assert out["best_mu"][0] == best.magnification(342.181, -44.531, 2.0).mu


def test_an_empty_table_stays_empty(fits, cluster):
    assert len(delens(fits[:0], cluster)) == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f, l: delens(f["id", "dec"], l), "no column ra"),
        (lambda f, l: delens(f["ra", "dec"], l), "give z="),
        (lambda f, l: delens(f, l, [1.0, 2.0]), r"shape \(2,\) for 60 rows"),
        (lambda f, l: delens(f, []), "no lens model"),
        (lambda f, l: delens(f, "best.par"), "no lens model"),
        (lambda f, l: delens(f, l, limit="none"), "choose 'fit'"),
        (lambda f, l: delens(f, l, limit="psf"), "needs psf_fwhm="),
        (lambda f, l: delens(f, l, pixel_to_sky=np.eye(3)), r"give \(2, 2\)"),
    ],
)
def test_what_is_missing_is_said(fits, best, change, words):
    with pytest.raises(InputError, match=words):
        change(fits, best)


def test_shapes_in_the_source_plane_do_not_turn_with_the_mosaic(fits, cluster):
    """A mosaic turned by 40 degrees shows turned ellipses; its metadata turn them back."""
    some = fits[:5]
    some.meta = {"photometry": {"pixel_scale": SCALE}}
    plain = delens(some, cluster, 2.0, n_draws=3)
    c, s = np.cos(np.radians(40.0)), np.sin(np.radians(40.0))
    turn = np.array([[c, -s], [s, c]])  # from turned pixels to West and North
    xx, yy, xy = (np.asarray(getattr(some[name], "value", some[name])) for name in ("cov_xx", "cov_yy", "cov_xy"))
    shape = turn.T @ np.array([[xx, xy], [xy, yy]]).transpose(2, 0, 1) @ turn
    other = some.copy()
    other["cov_xx"], other["cov_yy"], other["cov_xy"] = shape[:, 0, 0], shape[:, 1, 1], shape[:, 0, 1]
    other.meta = {"photometry": {"pixel_scale": SCALE, "pixel_to_sky": (SCALE * turn).tolist()}}
    turned = delens(other, cluster, 2.0, n_draws=3)
    for name in ("source_std_maj", "source_std_min", "source_theta"):
        np.testing.assert_allclose(turned[name].value, plain[name].value, rtol=1e-9)


def test_a_redshift_of_minus_one_is_flagged_as_none(fits, cluster):
    out = delens(fits[:2], cluster, [-1.0, 2.0], n_draws=3)
    assert int(out["lens_flags"][0]) == int(LensFlag.NO_REDSHIFT)
    assert np.isnan(out["mu"][0])
