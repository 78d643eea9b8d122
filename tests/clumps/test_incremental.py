"""A population that follows an edited list is, to the last bit, the one made afresh; other clumps keep their draws."""

from __future__ import annotations

import numpy as np
import pytest

from sc_lab.catalog import validate
from sc_lab.catalog.comparison import same_rows
from sc_lab.mock import make_population
from sc_lab.population import QUANTITIES, analyse
from sc_lab.properties import joint_draws
from sc_lab.session import Session, population_of
from sc_lab.session.clump_rows import rows_from_table

DRAWN = ("mass", "r_eff", "age_onset", "mu", "sigma_mass", "dynamical_age", "z_form")


@pytest.fixture(scope="module")
def plain():
    """A catalogue without arrays of draws, as images give it."""
    catalog = make_population(n=90, rng=3).catalog
    return validate(catalog[[name for name in catalog.colnames if catalog[name].ndim == 1]])


def products(population):
    out = {f"values {name}": population.values(name) for name in QUANTITIES}
    out |= {f"errors {name}": np.array(population.errors(name)) for name in QUANTITIES}
    out |= {f"drawn {name}": population.drawn(name) for name in DRAWN}
    out |= {name: getattr(population, name) for name in ("status", "candidate", "gc_contaminant")}
    out["bootstrap"] = population.bootstrap("power_law")["beta"]
    return out


def test_whatever_is_edited_the_population_is_the_one_made_afresh(plain):
    rng = np.random.default_rng(5)
    session = Session(plain[:60])
    session.do("set", n_populations=30)
    live = population_of(session)
    for step in range(24):
        products(live) if step % 3 else live.errors("mass", np.arange(0, live.n, 4))
        kind = rng.integers(5)
        ids = session.clump_ids
        some = [str(name) for name in rng.choice(ids, 3, replace=False)]
        row = rows_from_table(plain, [int(rng.integers(60, 90))])
        if kind == 0:
            row["data"][0][0] = session.new_ids(1)[0]
            session.do("add_clump", ids=row["data"][0][0], rows=row)
        elif kind == 1:
            session.do("exclude", ids=some)
            session.do("remove_clump", ids=some[:2])
        elif kind == 2:
            row["data"][0][0] = some[0]
            session.do("move_clump", id=some[0], rows=row)
        elif kind == 3:
            session.do("set", size_threshold=float(rng.integers(10, 60)), lens_model=str(rng.choice(["", "m2"])))
        else:
            session.undo()
        live = population_of(session, previous=live)
        fresh = analyse(
            session.current_catalog,
            excluded=dict(session.document.excluded),
            **session.settings.to_dict(),
        )
        assert live.ids == fresh.ids
        found, wanted = products(live), products(fresh)
        for name, value in wanted.items():
            assert np.array_equal(found[name], value, equal_nan=value.dtype.kind == "f"), name


def test_a_slider_between_edits_makes_nothing_anew(plain):
    session = Session(plain)
    population = population_of(session)
    population.draws  # noqa: B018 - computed for its effect on what is kept
    session.do("set", size_threshold=33)
    follower = population_of(session, previous=population)
    assert follower.store is population.store
    session.do("remove_clump", ids=session.clump_ids[0])
    edited = population_of(session, previous=follower)
    session.do("set", size_threshold=34)
    assert population_of(session, previous=edited).store is edited.store


def test_the_draws_of_a_clump_are_its_own(plain):
    whole = joint_draws(plain, n_draws=40, rng=2)
    order = np.random.default_rng(1).permutation(len(plain))[:50]
    part = joint_draws(plain[order], n_draws=40, rng=2)
    for name in ("mass", "age", "r_eff", "mu", "sfr"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[:, order])


def test_draws_of_posteriors_are_a_clumps_own_too():
    catalog = make_population(n=40, rng=3).catalog
    whole, part = (joint_draws(table, n_draws=25, rng=2) for table in (catalog, catalog[10:30]))
    assert whole.index is not None
    np.testing.assert_array_equal(part.index, whole.index[:, 10:30])
    np.testing.assert_array_equal(part.mass, whole.mass[:, 10:30])


def test_rows_are_the_same_when_every_column_is(plain):
    other = plain[10:40].copy()
    np.testing.assert_array_equal(same_rows(plain, other), np.arange(10, 40))
    other["mass"][3] *= 1 + 1e-15
    other["z"][5] = 3.0
    rows = same_rows(plain, other)
    assert np.flatnonzero(rows < 0).tolist() == [3, 5]
    other["remark"] = ["" if row != 7 else "new" for row in range(30)]
    assert np.flatnonzero(same_rows(plain, other) < 0).tolist() == [3, 5, 7], "an empty text says nothing"
