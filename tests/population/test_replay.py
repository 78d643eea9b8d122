"""Whatever is changed in whatever order, the products are those of an analysis made afresh, and each is made once."""

import numpy as np
import pytest

from sc_lab.errors import InputError
from sc_lab.mock import make_population
from sc_lab.population import QUANTITIES, Settings, analyse
from sc_lab.population.analysis import _DRAWN

# Another cosmology than the catalogue's is pointed out; here it is meant.
pytestmark = pytest.mark.filterwarnings("ignore:the catalogue was computed with the cosmology")

#: Values that each setting takes in turn; every setting must be here.
CHOICES = {
    "size_threshold": (1e-3, 12.0, 20.0, 50.0, 1e4),
    "age_max": (1.0, 100.0, 1e5),
    "mass_min": (1e4, 2e6, 1e8),
    "mass_max": (None, 5e8),
    "drop_most_massive": (True, False),
    "gc_cut": (True, False),
    "gc_box": (Settings().gc_box, ((-2.0, -1.0), (1.0, -1.0), (0.0, 2.0)), ((9.0, 9.0), (9.1, 9.0), (9.0, 9.1))),
    "lens_model": ("", "m2", "m3"),
    "within": ("half", "total"),
    "hubble": (70.0, 300.0),  # a Universe too young for some ages
    "omega_m": (0.3, 0.9),
    "omega_de": (0.7, 0.1, 0.0),
    "n_populations": (1, 20, 33),
    "seed": (0, 1),
}


@pytest.fixture(scope="module")
def catalog():
    return make_population(n=120, rng=4).catalog


def products(population):
    """Return every product of a population by name."""
    out = {f"values {name}": population.values(name) for name in QUANTITIES}
    out |= {f"scaled {name}": population.scaled(name) for name in QUANTITIES}
    out |= {f"errors {name}": np.array(population.errors(name)) for name in QUANTITIES}
    out |= {f"drawn {name}": population.drawn(name) for name in _DRAWN}
    for name in ("r_eff_is_limit", "gc_contaminant", "removed", "candidate", "in_cmf_sample", "status"):
        out[name] = getattr(population, name)
    out["gc"] = np.array([population.gc.x, population.gc.y, population.gc.probability, population.gc.distance])
    out["sample_masses"] = population.sample_masses
    for name, column in population.columns().items():
        out[f"column {name}"] = np.asarray(getattr(column, "value", column))
    for name in ("mass", "sigma_mass", "z_form"):
        histogram = population.histogram(name, bins=7)
        out[f"histogram {name}"] = np.concatenate([histogram.edges, histogram.clumps, histogram.candidates])
    for model in ("power_law", "schechter"):
        try:
            fit = population.mass_function(model)
        except InputError as error:
            out[f"fit {model}"] = np.array([str(error)])
        else:
            # The samples depend on the seed, the quantiles do not.
            out[f"fit {model}"] = np.concatenate([fit.quantile("beta", [0.16, 0.5, 0.84]), fit.samples["beta"][:20]])
        for name, medians in population.bootstrap(model).items():
            out[f"bootstrap {model} {name}"] = medians
    out["counts"] = np.array(list(population.counts.values()))
    out["words"] = np.array([str(population.describe(row)) for row in range(0, population.n, 31)])
    return out


def random_change(rng, population):
    """Return a change of one to three settings, or of the edits by hand."""
    if rng.random() < 0.3:
        some = rng.choice(population.ids, size=rng.integers(0, 9), replace=False).tolist()
        inside = [population.ids[row] for row in np.flatnonzero(population.gc.inside)[:3]]
        return {str(rng.choice(["excluded", "kept"])): some + [name for name in inside if name not in some]}
    names = rng.choice(list(CHOICES), size=rng.integers(1, 4), replace=False)
    return {name: CHOICES[name][rng.integers(len(CHOICES[name]))] for name in names.tolist()}


def test_the_choices_cover_every_setting():
    assert set(CHOICES) == set(Settings.names())


@pytest.mark.parametrize("seed", range(6))
def test_any_order_of_changes_gives_the_products_of_a_fresh_analysis(catalog, seed):
    rng = np.random.default_rng(seed)
    live = analyse(catalog, n_populations=20)
    for _ in range(20):
        live = live.replace(**random_change(rng, live))
        if rng.random() < 0.5:
            # Only some products are looked at before the next change, as plots that are closed are not.
            live.errors("z_form", np.arange(0, live.n, 7))
            live.candidate  # noqa: B018 - computed for its effect on what is kept
            continue
        fresh = analyse(catalog, excluded=live.excluded, kept=live.kept, notes=live.notes, **live.settings.to_dict())
        found, expected = products(live), products(fresh)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            same = np.array_equal(found[name], value, equal_nan=value.dtype.kind == "f")
            assert same, f"{name} is stale after {live.settings}"


def test_every_setting_alone_changes_some_product_and_going_back_gives_the_first(catalog):
    first = analyse(catalog, n_populations=20)
    before = products(first)
    for name, choices in CHOICES.items():
        changed = False
        for choice in choices:
            now = products(first.replace(**{name: choice}))
            changed |= any(
                key not in before or not np.array_equal(now[key], before[key], equal_nan=now[key].dtype.kind == "f")
                for key in now
            )
        assert changed, f"{name} changes nothing"
        back = products(first)
        assert all(np.array_equal(back[key], before[key], equal_nan=before[key].dtype.kind == "f") for key in before), (
            name
        )


def test_looking_again_computes_nothing(catalog):
    population = analyse(catalog, n_populations=20)
    products(population)
    before = dict(population.store.computed)
    products(population)
    products(population.replace())
    assert population.store.computed == before


def test_products_that_many_share_cannot_be_changed_by_accident():
    population = analyse(make_population(n=30, rng=1).catalog, n_populations=5)
    for array in (population.values("mass"), population.drawn("mass"), population.candidate, population.gc.inside):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
