"""What every model answers: signs, redshifts, frames, realisations, and numbers that do not depend on company."""

import astropy.units as u
import numpy as np
import pytest
from astropy.cosmology import FlatLambdaCDM

from sc_lab.errors import InputError
from sc_lab.lensing import DPIE, ExternalShear, ParametricLens, Posterior, magnification_of


@pytest.fixture(scope="module")
def places(cluster):
    x, y = np.random.default_rng(8).uniform(-28, 28, (2, 150))
    return cluster.to_sky(x, y)


def test_magnification_is_the_inverse_determinant_of_the_jacobian(cluster, places):
    k, g1, g2 = cluster.jacobian(*places, 2.0)
    mu, mu_t, mu_r = cluster.magnification(*places, 2.0)
    # Near a critical curve the determinant loses digits to cancellation, in both forms alike.
    np.testing.assert_allclose(1 / mu, (1 - k) ** 2 - g1**2 - g2**2, rtol=0, atol=1e-13)
    np.testing.assert_allclose(mu, mu_t * mu_r, rtol=1e-12)
    assert (mu_t < 0).any()
    assert (mu > 0).any()


def test_inside_the_radial_critical_curve_mu_is_positive_again():
    lens = ParametricLens([DPIE(0, 0, 1200.0, core=5.0, cut=300.0)], z_lens=0.3, ra=10.0, dec=5.0)
    mu, mu_t, mu_r = lens.magnification(10.0 + 1e-5, 5.0, 3.0)
    assert mu > 0
    assert mu_t < 0
    assert mu_r < 0
    # Near the centre of a convergence above 1 the radial stretch is the larger one.
    assert abs(mu_r) >= abs(mu_t)


def test_in_front_of_the_lens_nothing_is_magnified(cluster):
    mu, mu_t, mu_r = cluster.magnification(342.181, -44.531, [0.1, 0.35, 0.36, np.nan])
    assert mu[:2].tolist() == mu_t[:2].tolist() == mu_r[:2].tolist() == [1.0, 1.0]
    assert mu[2] != 1.0
    assert np.isnan(mu[3])
    assert cluster.deflection(342.181, -44.531, 0.2).west == 0.0


def test_the_efficiency_is_that_of_the_distances():
    # E(z_l = 0.351) = 0.583, 0.734, 0.808 at z = 1, 2, 4 for H0 = 70, Om = 0.3, to the three digits given.
    lens = ParametricLens([ExternalShear(0.1)], z_lens=0.351, ra=0.0, dec=0.0)
    np.testing.assert_allclose(lens.efficiency([1.0, 2.0, 4.0]), [0.583, 0.734, 0.808], atol=5e-4)
    other = ParametricLens([ExternalShear(0.1)], z_lens=0.351, ra=0.0, dec=0.0, cosmology=FlatLambdaCDM(70, 0.2))
    assert other.efficiency(2.0) != lens.efficiency(2.0)


def test_convergence_scales_with_the_efficiency(cluster, places):
    near, far = (np.array(cluster.jacobian(*places, z)) for z in (1.0, 4.0))
    np.testing.assert_allclose(near / far, cluster.efficiency(1.0) / cluster.efficiency(4.0), rtol=1e-12)


def test_the_frame_returns_and_crosses_zero_hours():
    lens = ParametricLens([ExternalShear(0.1)], z_lens=0.3, ra=0.001, dec=-30.0)
    x, y = lens.to_frame([359.999, 0.003], [-30.0, -29.999])
    # West is +x: at the smaller right ascension.
    assert x[0] == pytest.approx(0.002 * 3600 * np.cos(np.radians(30)))
    ra, dec = lens.to_sky(x, y)
    np.testing.assert_allclose(ra, [359.999, 0.003], atol=1e-11)
    np.testing.assert_allclose(dec, [-30.0, -29.999], atol=1e-12)


def test_the_tangent_plane_is_that_of_astropy(cluster):
    from astropy.wcs import WCS

    lens = ParametricLens(cluster.potentials, z_lens=0.35, ra=110.8, dec=-73.45, frame="tangent")
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.cdelt = ("RA---TAN", "DEC--TAN"), (110.8, -73.45), (-1 / 3600, 1 / 3600)
    ra, dec = wcs.all_pix2world([40.0, -30.0], [-50.0, 20.0], 1)
    x, y = lens.to_frame(ra, dec)
    # Positions in degrees keep 6e-14 of 110, 2e-10 arcsec.
    np.testing.assert_allclose([x, y], [[40.0, -30.0], [-50.0, 20.0]], atol=1e-8)
    np.testing.assert_allclose(lens.to_sky(x, y), [ra, dec], rtol=0, atol=1e-12)
    flat = ParametricLens(cluster.potentials, z_lens=0.35, ra=110.8, dec=-73.45).to_frame(ra, dec)
    assert 0.003 < np.abs(np.array(flat) - [x, y]).max() < 0.1
    with pytest.raises(InputError, match="choose 'lenstool' or 'tangent'"):
        ParametricLens(cluster.potentials, z_lens=0.35, ra=1, dec=1, frame="sky")


def test_quantities_and_numbers_give_the_same(cluster):
    bare = cluster.magnification(342.181, -44.531, 2.0).mu
    assert cluster.magnification((342.181 * u.deg).to(u.rad), -44.531 * 60 * u.arcmin, 2.0).mu == pytest.approx(bare)


def test_the_source_is_the_image_less_the_deflection(cluster, places):
    ra, dec = cluster.source(*places, 2.0)
    x, y = cluster.to_frame(*places)
    sx, sy = cluster.to_frame(ra, dec)
    alpha = cluster.deflection(*places, 2.0)
    # Degrees of a right ascension keep 6e-14 of 342, which is 2e-10 arcsec.
    np.testing.assert_allclose([x - alpha.west, y - alpha.north], [sx, sy], rtol=0, atol=1e-9)


def test_draws_are_the_models_of_the_samples(cluster, places):
    index = cluster.realisation_index(6, rng=11)
    mu, mu_t = cluster.magnification_draws(*places, 2.0, n_draws=6, rng=11)
    for j, i in enumerate(index):
        truth = cluster.realisation(int(i)).magnification(*places, 2.0)
        # 1/mu is what is computed; far from critical curves this is a relative 1e-12.
        np.testing.assert_allclose(1 / mu[j], 1 / truth.mu, rtol=0, atol=1e-12)
        np.testing.assert_allclose(1 / mu_t[j], 1 / truth.mu_t, rtol=0, atol=1e-12)


def test_one_object_alone_has_the_numbers_of_the_whole_table(cluster, places):
    """An object added later must not differ in the last bit from the same object measured with the rest."""
    ra, dec = places
    mu, mu_t = cluster.magnification_draws(ra, dec, 2.0, n_draws=30, rng=4)
    best = cluster.magnification(ra, dec, 2.0).mu
    for k in (0, 7, 149):
        alone, alone_t = cluster.magnification_draws(ra[k : k + 1], dec[k : k + 1], 2.0, n_draws=30, rng=4)
        np.testing.assert_array_equal(alone[:, 0], mu[:, k])
        np.testing.assert_array_equal(alone_t[:, 0], mu_t[:, k])
        assert cluster.magnification(ra[k], dec[k], 2.0).mu == best[k]


def test_realisations_repeat_only_when_there_are_too_few(cluster):
    assert len(set(cluster.realisation_index(40, rng=1))) == 40
    assert len(cluster.realisation_index(100, rng=1)) == 100
    with pytest.raises(InputError, match="n_draws is 0"):
        cluster.realisation_index(0)


def test_without_realisations_the_gradient_stands_in_and_is_capped(smooth):
    x = np.array([25.0, 60.0])
    ra, dec = smooth.to_sky(x, np.zeros(2))
    scatter = smooth.gradient_scatter(ra, dec, 2.0)
    h = 0.01
    slope = np.hypot(
        *(
            (
                np.log(np.abs(smooth.magnification(*smooth.to_sky(x + dx, dy), 2.0).mu))
                - np.log(np.abs(smooth.magnification(*smooth.to_sky(x - dx, -dy), 2.0).mu))
            )
            / (2 * h)
            for dx, dy in ((h, np.zeros(2)), (0.0, np.full(2, h)))
        )
    )
    # Central differences of another step: second order in 0.05 over the scale on which mu changes.
    np.testing.assert_allclose(scatter, np.minimum(slope * smooth.rms, 1.0), rtol=1e-3)
    mu, _ = smooth.magnification_draws(ra, dec, 2.0, n_draws=4000, rng=1)
    # The standard deviation of 4000 deviates is known to 1.1 %; five times that.
    np.testing.assert_allclose(np.log(np.abs(mu)).std(axis=0), scatter, rtol=0.06)
    assert (np.sign(mu) == np.sign(smooth.magnification(ra, dec, 2.0).mu)).all()


def test_a_description_is_json_and_tells_models_apart(cluster, smooth):
    import json

    a, b = cluster.describe(), smooth.describe()
    assert json.loads(json.dumps(a)) == a
    assert (a["name"], a["kind"], a["n_realisations"], b["n_realisations"]) == ("M1", "ParametricLens", 40, 0)
    again = ParametricLens(
        cluster.potentials, z_lens=0.35, ra=cluster.ra, dec=cluster.dec, rms=0.5, posterior=cluster.posterior
    )
    assert again.describe()["sha256"] == a["sha256"]
    assert cluster.realisation(3).describe()["sha256"] != a["sha256"] != b["sha256"]


def test_a_posterior_that_does_not_fit_is_refused(cluster):
    for values, words in (
        ({(99, "sigma"): np.ones(3)}, "potential 99"),
        ({(0, "gamma"): np.ones(3)}, "'gamma' of potential 0"),
        ({(0, "sigma"): np.ones(2)}, r"shape \(2,\)"),
    ):
        with pytest.raises(InputError, match=words):
            ParametricLens(cluster.potentials, z_lens=0.3, ra=0, dec=0, posterior=Posterior(n=3, values=values))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ParametricLens([], z_lens=0.3, ra=0, dec=0), "no potential"),
        (lambda: ParametricLens([1.0], z_lens=0.3, ra=0, dec=0), "holds a float"),
        (lambda: ParametricLens([ExternalShear(0.1)], z_lens=0.0, ra=0, dec=0), "z_lens is 0.0"),
        (lambda: ParametricLens([ExternalShear(0.1)], z_lens=0.3, ra=0, dec=91), "reference position"),
    ],
)
def test_impossible_models_are_refused_in_words(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_shapes_that_do_not_go_together_are_named(cluster):
    with pytest.raises(InputError, match=r"shapes \(2,\), \(2,\) and \(3,\)"):
        cluster.magnification([1.0, 2.0], [1.0, 2.0], [1.0, 2.0, 3.0])


def test_shapes_are_kept(cluster):
    ra, dec = np.full((3, 4), 342.181), np.full((3, 4), -44.531)
    assert cluster.magnification(ra, dec, 2.0).mu.shape == (3, 4)
    assert cluster.magnification(342.181, -44.531, 2.0).mu.shape == ()


def test_a_critical_curve_is_infinite_without_a_warning():
    assert np.isinf(magnification_of(0.5, 0.5, 0.0).mu_t)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"step": 0.0}, "step is 0"),
        ({"step": -1.0}, "step is -1"),
        ({"step": np.nan}, "step is nan"),
        ({"step": 1e-6}, "points in"),
        ({"bounds": (5.0, -5.0, -5.0, 5.0)}, "bounds are"),
        ({"bounds": (-1e9, 1e9, -1e9, 1e9)}, "smaller bounds"),
    ],
)
def test_curves_that_would_fill_the_memory_are_refused_in_words(cluster, options, words):
    with pytest.raises(InputError, match=words):
        cluster.critical_curves(2.0, **options)


def test_a_redshift_below_zero_is_no_redshift(cluster):
    """Catalogues write -1 or -99 where there is none; that is no source in front of the lens."""
    assert np.isnan(cluster.magnification(342.181, -44.531, [-1.0, -99.0]).mu).all()
