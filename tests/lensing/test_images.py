"""Counter-images, arrival order, critical curves and caustics: closure, closed forms and nothing missed."""

import numpy as np
import pytest

from sc_lab.errors import InputError
from sc_lab.lensing import DPIE, ExternalShear, ParametricLens


@pytest.fixture(scope="module")
def sphere():
    """Return an isothermal sphere of 20 arcsec."""
    sigma = 1000.0 * np.sqrt(20.0 / DPIE(0, 0, 1000.0).strength)
    return ParametricLens([DPIE(0, 0, float(sigma), core=0.0, cut=1e7)], z_lens=0.3, ra=150.0, dec=2.0)


def test_an_isothermal_sphere_has_two_images_where_they_must_be(sphere):
    radius = 20.0 * float(sphere.efficiency(2.0))
    beta = 4.0
    ra, dec = sphere.to_sky((radius + beta) * np.cos(0.6), (radius + beta) * np.sin(0.6))
    found = sphere.counter_images(ra, dec, 2.0, bounds=(-40, 40, -40, 40))
    x, y = sphere.to_frame(found["ra"], found["dec"])
    # The cut radius of 1e7 arcsec leaves 2e-6 of the deflection.
    np.testing.assert_allclose(np.hypot(x, y), [radius + beta, radius - beta], atol=1e-4)
    assert found["kind"].tolist() == ["minimum", "saddle"]
    np.testing.assert_allclose(found["mu"], [1 + radius / beta, 1 - radius / beta], rtol=1e-4)
    days = (1.3 * sphere.cosmology.angular_diameter_distance(0.3) / sphere.efficiency(2.0)).to_value("lyr") * 365.25
    delay = days * np.radians(1 / 3600) ** 2 * 2 * radius * beta
    # The path of the integral crosses the singular centre, where the deflection jumps; 512 nodes leave 0.5 %.
    assert found["delay"][1].to_value("day") == pytest.approx(delay, rel=0.005)
    assert found["offset"][0].to_value("arcsec") < 1e-6


def test_every_image_closes_on_the_source(cluster):
    rng = np.random.default_rng(12)
    total = 0
    for _ in range(6):
        ra, dec = cluster.to_sky(*rng.uniform(-15, 15, 2))
        found = cluster.counter_images(ra, dec, 3.0, min_mu=0.0)
        sx, sy = cluster.to_frame(*cluster.source(found["ra"], found["dec"], 3.0))
        # The solver's own closure, 1e-7 at worst, and 1e-10 of the degrees.
        assert np.hypot(sx - sx[0], sy - sy[0]).max() < 3e-7
        assert found["offset"].to_value("arcsec").min() < 1e-5
        total += len(found)
    assert total > 12  # success trivial otherwise


def test_no_image_is_missed_and_parities_add_up():
    """A lens without singular cores has an odd number of images, one saddle fewer than extrema."""
    rng = np.random.default_rng(2)
    lens = ParametricLens(
        [
            DPIE(0, 0, 900.0, core=3.0, cut=300.0, ellipticity=0.5, angle=20.0),
            DPIE(9.0, 4.0, 350.0, core=0.4, cut=20.0, ellipticity=0.2),
        ],
        z_lens=0.3,
        ra=150.0,
        dec=2.0,
    )
    numbers = []
    for _ in range(40):
        ra, dec = lens.to_sky(*rng.uniform(-9, 9, 2))
        found = lens.counter_images(ra, dec, 2.5, min_mu=0.0, bounds=(-70, 70, -70, 70))
        saddles = np.count_nonzero(np.array(found["kind"]) == "saddle")
        assert len(found) - saddles == saddles + 1
        numbers.append(len(found))
    assert max(numbers) >= 5  # success trivial otherwise


def test_the_first_image_to_arrive_is_a_minimum(cluster):
    ra, dec = cluster.to_sky(14.0, -6.0)
    found = cluster.counter_images(ra, dec, 3.0)
    assert found["kind"][0] == "minimum"
    assert found["order"].tolist() == list(range(1, len(found) + 1))
    assert (np.diff(found["delay"].to_value("day")) >= 0).all()


def test_several_images_of_one_source_share_their_mean(cluster):
    ra, dec = cluster.to_sky(14.0, -6.0)
    alone = cluster.counter_images(ra, dec, 3.0)
    together = cluster.counter_images(alone["ra"], alone["dec"], 3.0)
    np.testing.assert_allclose(together["ra"].to_value("deg"), alone["ra"].to_value("deg"), atol=1e-8)


def test_the_scatter_is_how_far_images_move_among_the_samples(cluster, smooth):
    ra, dec = cluster.to_sky(14.0, -6.0)
    found = cluster.counter_images(ra, dec, 3.0, n_draws=12, rng=5)
    assert len(found) > 2  # success trivial otherwise
    scatter = found["scatter"].to_value("arcsec")
    here = int(np.argmin(found["offset"]))
    # The given image stays where it is in every sample.
    assert scatter[here] < 1e-6
    x, y = cluster.to_frame(found["ra"], found["dec"])
    other = (here + 1) % len(found)
    moved = []
    for index in cluster.realisation_index(12, rng=5):
        again = cluster.realisation(int(index)).counter_images(ra, dec, 3.0)
        ax, ay = cluster.to_frame(again["ra"], again["dec"])
        moved.append(np.hypot(ax - x[other], ay - y[other]).min())
    assert scatter[other] == pytest.approx(np.sqrt(np.mean(np.square(moved))), rel=1e-5)
    with pytest.raises(InputError, match="has no realisations"):
        smooth.counter_images(ra, dec, 3.0, n_draws=3)


def test_critical_curve_of_a_sphere_is_its_circle_and_its_caustic_a_point(sphere):
    radius = 20.0 * float(sphere.efficiency(2.0))
    (curve,) = sphere.critical_curves(2.0, bounds=(-40, 40, -40, 40))
    x, y = sphere.to_frame(curve[:, 0], curve[:, 1])
    # Linear interpolation over 0.25 arcsec of a function of curvature 2/radius²: h²/(4 radius).
    np.testing.assert_allclose(np.hypot(x, y), radius, atol=2e-3)
    np.testing.assert_array_equal(curve[0], curve[-1])
    (caustic,) = sphere.caustics(2.0, bounds=(-40, 40, -40, 40))
    sx, sy = sphere.to_frame(caustic[:, 0], caustic[:, 1])
    assert np.hypot(sx, sy).max() < 2e-3


def test_a_small_box_shows_the_same_curve(cluster):
    whole = max(cluster.critical_curves(3.0), key=len)
    x, y = cluster.to_frame(*whole[len(whole) // 3])
    box = (x - 1.0, x + 1.0, y - 1.0, y + 1.0)
    lines = cluster.critical_curves(3.0, bounds=box, step=0.02)
    lx, ly = np.concatenate([np.stack(cluster.to_frame(line[:, 0], line[:, 1]), axis=-1) for line in lines]).T
    # The point of the coarse line is off by its own interpolation over 0.25 arcsec.
    assert np.hypot(lx - x, ly - y).min() < 0.05


def test_magnification_diverges_along_the_curves(cluster):
    for kind, part in (("tangential", 1), ("radial", 2)):
        lines = cluster.critical_curves(3.0, kind=kind, step=0.1)
        line = max(lines, key=len)
        inverse = 1 / cluster.magnification(line[:, 0], line[:, 1], 3.0)[part]
        # The eigenvalue changes by about 0.1 per arcsec in the smooth halo and faster beside a galaxy.
        assert np.median(np.abs(inverse)) < 1e-3


def test_small_galaxies_far_from_the_cluster_show_their_own_critical_curve():
    halo, far = DPIE(0, 0, 700.0, core=3.0, cut=200.0), DPIE(25.4, 25.6, 110.0, core=0.02, cut=8.0)
    lens = ParametricLens([halo, far], z_lens=0.35, ra=342.18, dec=-44.53)
    assert far.strength < 0.6  # success trivial otherwise: smaller than a cell of the coarse grid
    lines = lens.critical_curves(3.0, bounds=(-30, 30, -30, 30), step=0.1)
    middles = [np.mean(lens.to_frame(line[:, 0], line[:, 1]), axis=1) for line in lines]
    assert len(lines) == 2
    assert min(np.hypot(*(middle - (25.4, 25.6))) for middle in middles) < 0.2


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda lens: lens.counter_images(150.0, 2.0, 0.2), "behind the lens"),
        (lambda lens: lens.counter_images(np.nan, 2.0, 2.0), "outside the lens model"),
        (lambda lens: lens.critical_curves(0.1), "behind the lens"),
        (lambda lens: lens.critical_curves(2.0, kind="both"), "choose 'tangential' or 'radial'"),
        (lambda lens: lens.critical_curves(2.0, bounds=(5, -5, 0, 1)), "bounds are"),
        (lambda lens: lens.counter_images(150.001, 2.0, 2.0, step=0.001), "give a larger step"),
    ],
)
def test_questions_without_an_answer_are_refused_in_words(sphere, call, words):
    with pytest.raises(InputError, match=words):
        call(sphere)


def test_a_sheet_has_one_image_everywhere():
    lens = ParametricLens([ExternalShear(0.1, 20.0)], z_lens=0.3, ra=150.0, dec=2.0)
    assert len(lens.counter_images(150.001, 2.001, 2.0)) == 1
    assert lens.critical_curves(2.0) == []
