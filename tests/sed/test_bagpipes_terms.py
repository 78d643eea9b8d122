"""Our models and priors are the same in bagpipes' terms."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sc_lab.errors import InputError
from sc_lab.sed._bagpipes_terms import YOUNGEST, library_arrays, model_terms, our_names, prior_terms, step_terms
from sc_lab.sed._bagpipes_worker import instructions_of, use_library
from sc_lab.sed._continuity import StudentT
from sc_lab.sed.libraries import load_library
from sc_lab.sed.model import SedModel
from sc_lab.sed.priors import Fixed, Gaussian, LogUniform, Uniform
from sc_lab.sed.sfh import continuity_edges

QUANTILES = np.linspace(0.001, 0.999, 333)


@pytest.fixture(scope="module")
def bagpipes_prior():
    """Return bagpipes' own class of priors, from its file alone: the package takes seconds to import and writes."""
    package = importlib.util.find_spec("bagpipes")
    path = Path(package.submodule_search_locations[0]) / "fitting" / "prior.py"
    spec = importlib.util.spec_from_file_location("_bagpipes_prior", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.prior


@pytest.mark.parametrize(
    ("name", "prior", "factor"),
    [
        ("age", Uniform(2.0, 3200.0), 1e-3),
        ("age", LogUniform(1.5, 3200.0), 1e-3),
        ("age", Gaussian(30.0, 12.0, 5.0, 80.0), 1e-3),
        ("log_mass_formed", Uniform(3.0, 15.0), 1.0),
        ("metallicity", LogUniform(1e-3, 1.5), 1.0),
        ("a_v", Gaussian(0.3, 0.2, 0.0, 1.0), 1.0),
        ("log_u", Gaussian(-2.0, 0.4), 1.0),
    ],
)
def test_bagpipes_draws_from_our_prior(bagpipes_prior, name, prior, factor):
    terms, caution = prior_terms(name, prior, factor=factor)
    hyper = {key: value for key, value in terms.items() if key not in {"prior", "limits"}}
    theirs = bagpipes_prior([tuple(terms["limits"])], [terms["prior"]], [hyper])
    drawn = np.array([theirs.transform(np.array([q]))[0] for q in QUANTILES])
    # Their error function and our normal integral agree to rounding, which a tail of 1e-3 enlarges tenfold.
    np.testing.assert_allclose(drawn / factor, prior.ppf(QUANTILES), rtol=1e-12, atol=1e-12)
    assert not caution


def test_bagpipes_draws_steps_from_our_student_t(bagpipes_prior):
    ours = StudentT(scale=0.3, limit=10.0)
    terms = step_terms(ours)
    theirs = bagpipes_prior([tuple(terms["limits"])], ["student_t"], [{k: terms[k] for k in ("df", "loc", "scale")}])
    drawn = np.array([theirs.transform(np.array([q]))[0] for q in QUANTILES])
    # SciPy's general t distribution against the closed form for two degrees of freedom; near zero it is absolute.
    np.testing.assert_allclose(drawn, ours.ppf(QUANTILES), rtol=1e-9, atol=1e-12)


def test_a_prior_that_begins_below_the_youngest_model_is_cut_there_and_said():
    terms, caution = prior_terms("age", Uniform(0.1, 100.0), factor=1e-3)
    assert terms["limits"] == [YOUNGEST * 1e-3, 0.1]
    assert "below 1 Myr" in caution
    # The default begins at 1 Myr itself, where bagpipes has no light: the cut takes nothing and is not worth a word.
    terms, caution = prior_terms("age", Uniform(1.0, 100.0), factor=1e-3)
    assert terms["limits"][0] * 1e9 > 1e6
    assert not caution
    with pytest.raises(InputError, match="1 Myr or younger"):
        prior_terms("age", Uniform(0.1, 0.9), factor=1e-3)
    with pytest.raises(InputError, match="fix it above 1 Myr"):
        prior_terms("age", Fixed(1.0), factor=1e-3)


def test_a_fixed_value_stays_a_number_in_their_unit():
    assert prior_terms("age", Fixed(25.0), factor=1e-3) == (0.025, "")


def test_every_history_names_its_parameters():
    assert our_names(SedModel(), 0)["age"] == ("exponential:age", 1e-3)
    assert our_names(SedModel(sfh="burst"), 0)["log_mass_formed"] == ("burst:massformed", 1.0)
    assert our_names(SedModel(sfh="constant"), 0)["age"] == ("constant:age_max", 1e-3)
    assert "log_u" not in our_names(SedModel(nebular=False), 0)
    steps = our_names(SedModel(sfh="continuity"), 3)
    assert "age" not in steps
    assert [steps[f"dsfr{k}"][0] for k in (1, 2, 3)] == ["continuity:dsfr1", "continuity:dsfr2", "continuity:dsfr3"]


def test_the_model_is_told_in_gyr_with_its_law_of_dust():
    terms = model_terms(SedModel(mode="compat", tau=10.0, attenuation="charlot_fall", slope=1.3, eta=2.0), 2.5)
    assert terms["exponential"] == {"tau": 0.01}
    assert terms["dust"] == {"type": "CF00", "eta": 2.0, "n": 1.3}
    assert terms["t_bc"] == 0.01
    assert terms["nebular"] == {}
    assert model_terms(SedModel(escape_fraction=0.2), 1.0)["nebular"] == {"fesc": 0.2}
    assert "nebular" not in model_terms(SedModel(nebular=False), 1.0)
    with pytest.raises(InputError, match="dust_emission=True"):
        model_terms(SedModel(dust_emission=False), 1.0)


def test_the_bins_of_a_continuity_history_end_below_the_age_of_the_universe():
    model = SedModel(sfh="continuity", mode="compat")
    edges = model_terms(model, 4.0)["continuity"]["bin_edges"]
    assert edges == continuity_edges(model, 4.0).tolist()
    assert edges[-1] < 1530.0  # the Universe is 1.53 Gyr old at z = 4 in this cosmology


def test_instructions_are_those_of_the_manual():
    """A free parameter is a tuple of limits with ``_prior`` beside it, a fixed one a number."""
    model = {"redshift": 2.0, "exponential": {"tau": 0.001}}
    free = {"prior": "Gaussian", "limits": [0.0, 1.0], "mu": 0.3, "sigma": 0.1}
    assert instructions_of(model, {"exponential:metallicity": 0.4, "dust:Av": free, "idle": free}) == {
        "redshift": 2.0,
        "exponential": {"tau": 0.001, "metallicity": 0.4},
        "dust": {"Av": (0.0, 1.0), "Av_prior": "Gaussian", "Av_prior_mu": 0.3, "Av_prior_sigma": 0.1},
        "idle": (0.0, 1.0),
        "idle_prior": "Gaussian",
        "idle_prior_mu": 0.3,
        "idle_prior_sigma": 0.1,
    }
    assert model == {"redshift": 2.0, "exponential": {"tau": 0.001}}


def test_the_shipped_library_is_not_copied():
    assert library_arrays(load_library("bc03")) is None


def test_a_users_library_takes_the_place_of_the_shipped_grids(tmp_path):
    """What the worker puts into bagpipes' settings lies as in bagpipes' own files: the axes around each nebular grid."""
    shipped = load_library("bc03")
    keep = (1, 3)
    wave, ages = slice(0, 13000, 1000), slice(0, 40)
    own = replace(
        shipped,
        name="mine",
        wavelength=shipped.wavelength[wave],
        age=shipped.age[ages],
        metallicity=shipped.metallicity[list(keep)],
        spectra=tuple(shipped.spectra[k][ages, wave] for k in keep),
        live_fraction=shipped.live_fraction[ages][:, list(keep)],
        continuum=tuple(shipped.nebular_continuum(k, j) for j in range(shipped.log_u.size) for k in keep),
        lines=tuple(shipped.nebular_lines(k, j) for j in range(shipped.log_u.size) for k in keep),
    )
    for name, array in library_arrays(own).items():
        np.save(tmp_path / f"{name}.npy", array)
    config = SimpleNamespace()
    utils = SimpleNamespace(make_bins=lambda mids, **_: (np.arange(mids.size + 1.0), None))
    use_library(config, utils, tmp_path)
    np.testing.assert_array_equal(config.metallicities, own.metallicity)
    assert (config.metallicity_bins[0], config.metallicity_bins[-1]) == (0.0, 10.0)
    np.testing.assert_array_equal(config.raw_stellar_grid[1].data, own.spectra[1])
    np.testing.assert_array_equal(config.live_frac, own.live_fraction)
    part = 2 * 5 + 1 + 1  # bagpipes' number of the part of log U 5 and metallicity 1, after an empty one
    np.testing.assert_array_equal(config.cont_grid[part][1:, 1:], own.nebular_continuum(1, 5))
    np.testing.assert_array_equal(config.line_grid[part][1:, 1:], own.nebular_lines(1, 5))
    assert len(config.cont_grid) == 2 * own.log_u.size + 1
    np.testing.assert_array_equal(config.neb_wavs, own.nebular_wavelength)


def test_importing_the_package_does_not_import_bagpipes():
    code = (
        "import sys, sc_lab.sed, sc_lab.sed.bagpipes_engine, sc_lab.sed.judging;"
        "print([name for name in ('bagpipes', 'nautilus', 'matplotlib', 'h5py') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
