"""Published clumps, read as they are: the counts and places that the papers give."""

import numpy as np
import pytest

from sc_lab.catalog import flags, read_catalog
from sc_lab.population import analyse
from sc_lab.reference import sample
from sc_lab.units import SURFACE_DENSITY, value_in

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module")
def smacs(real_data):
    return read_catalog(real_data / "reference/highz/clumps_smacs0723_claeyssens_2023.ecsv", columns="claeyssens2023")


def test_all_223_clumps_of_smacs0723_open_and_34_are_candidates(smacs):
    population = analyse(smacs)
    counts = population.counts
    assert counts["clumps"] == 223
    assert counts["candidates"] == 34
    # The published table marks its own candidates; the extra column survives reading.
    published = np.array(smacs["sc_candidate_lt20pc"], dtype=bool)
    assert np.array_equal(population.candidate, published)


def test_the_masked_radius_is_a_limit_and_stays_in_the_counts(smacs):
    population = analyse(smacs)
    row = int(np.flatnonzero(np.isnan(population.values("r_eff")))[0])
    assert population.counts["without_radius"] == 1
    assert population.ids[row] == "S5.2 C1.1"
    assert population.r_eff_is_limit[row]
    assert population.candidate[row]
    assert np.isnan(population.values("sigma_mass")[row])
    # It has no place in the plane, and a bootstrap population may still hold it.
    assert np.isfinite(population.values("mass")[row])


def test_limits_of_the_paper_stay_limits(smacs):
    population = analyse(smacs)
    assert np.array_equal(population.r_eff_is_limit, flags(smacs, "r_eff_is_limit"))
    # 38 rows of the table have no error bar on the radius: they are the limits.
    assert population.r_eff_is_limit.sum() == 38


def test_surface_densities_equal_those_tabulated_beside_the_clumps(smacs):
    population = analyse(smacs)
    ours = np.log10(population.values("sigma_mass"))
    table = np.log10(value_in(smacs["log_sigma"], SURFACE_DENSITY, "log_sigma"))  # dex, made linear on the way
    known = np.isfinite(ours) & np.isfinite(table)
    assert known.sum() == 220
    # The table has three decimals.
    np.testing.assert_allclose(ours[known], table[known], atol=6e-4)


def test_every_fit_and_plot_product_exists_for_real_clumps(smacs):
    population = analyse(smacs, size_threshold=50, mass_min=5e5)
    fit = population.mass_function("schechter")
    assert fit.n >= 20
    for name in ("sigma_mass", "dynamical_age", "z_form"):
        low, high = population.errors(name)
        assert np.isfinite(low).sum() > 200
        assert (high[np.isfinite(high)] >= 0).all()


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("cosmic_gems", "star_clusters_cosmic_gems_adamo_2024.ecsv"),
        ("firefly_sparkle", "star_clusters_firefly_sparkle_mowla_2024.ecsv"),
    ],
)
def test_packaged_samples_equal_the_published_tables_read_through_their_maps(real_data, name, file):
    table = read_catalog(real_data / "reference/highz" / file)
    ours = sample(name)
    assert len(ours) == len(table)
    for column in ("mass", "r_eff"):
        # The packaged figures are typed with four digits; the paper prints logarithms with one decimal.
        np.testing.assert_allclose(ours[column].value, table[column].value, rtol=3e-4)
    assert np.array_equal(flags(ours, "r_eff_is_limit"), flags(table, "r_eff_is_limit"))


def test_cosmic_gems_and_firefly_sparkle_lie_where_the_papers_put_them():
    gems, sparkle = analyse(sample("cosmic_gems")), analyse(sample("firefly_sparkle"))
    # Adamo et al. 2024: about 1 pc and about 1e5 Msun/pc2; Mowla et al. 2024: below 7 pc, above 1e3 Msun/pc2 or near it.
    assert 0.3 < np.median(gems.values("r_eff")) < 3
    assert 5e4 < np.median(gems.values("sigma_mass")) < 1e6
    assert (sparkle.values("r_eff") < 7).all()
    assert sparkle.r_eff_is_limit.all()
    assert 5e2 < np.median(sparkle.values("sigma_mass")) < 1e4
    assert gems.candidate.all()
    assert sparkle.candidate.all()
    assert (
        sparkle.values("sigma_mass") * 2 * np.pi * sparkle.values("r_eff") ** 2 / sparkle.values("mass")
    ).tolist() == (pytest.approx([1.0] * 10, rel=1e-12))
