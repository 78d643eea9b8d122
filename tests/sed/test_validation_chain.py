"""From pixels to masses: lensed clusters are painted, fitted in every band, and their SEDs hold the truth as often as said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from astropy.table import QTable

from sc_lab.images import Psf
from sc_lab.mock import make_clusters
from sc_lab.mock.lens import make_lens
from sc_lab.mock.light import CLUSTERS, SOLAR, light, recent_share
from sc_lab.mock.psfs import synthesise_psf
from sc_lab.mock.recovery import match_truth
from sc_lab.photometry import fit_clumps
from sc_lab.sed import LogUniform, Priors, Uniform, fit_photometry

pytestmark = pytest.mark.slow

BANDS = ("F115W", "F150W", "F200W", "F277W", "F356W", "F444W")
#: The stars of the mock are drawn from the priors of the fit: only then do intervals hold the truth as often as said.
PRIORS = Priors(age=LogUniform(1.5, 300), metallicity=LogUniform(0.02, 1.4), a_v=Uniform(0, 1), log_u=Uniform(-3, -1))


@pytest.fixture(scope="module")
def chain() -> tuple[QTable, Any]:
    """Return the truth of the images and the fits to their measured fluxes."""
    rng = np.random.default_rng(7)
    n = 200
    stars = {
        name: getattr(PRIORS, prior).ppf(rng.random(n))
        for name, prior in (("age_onset", "age"), ("a_v", "a_v"), ("metallicity", "metallicity"), ("log_u", "log_u"))
    }
    stars["metallicity"] = SOLAR * stars["metallicity"]
    stamps = {band: synthesise_psf(band).sampled(0.02)[50:251, 50:251] for band in BANDS}
    psfs = {
        band: Psf(stamp=stamp, pixel_scale=0.02, energy_fraction=stamp.sum(), band=band)
        for band, stamp in stamps.items()
    }
    field = make_clusters(
        make_lens(np.empty(0), np.empty(0), np.empty(0)), psfs, seed=4, size=30.0, offset=(6.0, 6.0), n=n,
        redshifts=(1.2, 2.0, 3.1, 4.4), snr=(10.0, 100.0), largest=1.2, host=0.3, populations=stars,
    )  # fmt: skip
    fits = fit_clumps(field, field.truth["id", "ra", "dec"])
    i, j = match_truth(field.truth, fits)
    truth, fits = field.truth[i], fits[j]
    flux, err = (
        np.stack([fits[f"flux_{b.lower()}{end}"].to_value("nJy") for b in BANDS], axis=1) for end in ("", "_err")
    )
    shape = np.stack([fits[f"shape_err_{b.lower()}"].to_value("nJy") for b in BANDS], axis=1)
    # The part of the errors that all bands share through the size goes in as such, the rest band by band.
    own = np.sqrt(np.maximum(err**2 - shape**2, 0.0))
    common = np.abs(fits["flux_shape_err"])
    seds = fit_photometry(
        flux, own, BANDS, np.asarray(truth["z"]), priors=PRIORS, shape_err=np.repeat(common[:, None], len(BANDS), axis=1),
        error_floor=0.0, rng=1,
    )  # fmt: skip
    return truth, seds


def test_intervals_of_68_percent_hold_68_percent_of_the_truths(chain: Any) -> None:
    truth, seds = chain
    n = len(truth)
    assert n > 150  # success trivial otherwise
    age, mass, mu = truth["age_onset"].value, truth["mass"].value, np.abs(truth["mu"])
    formed = light(
        np.asarray(truth["z"]), age, truth["a_v"].value, truth["metallicity"] / SOLAR, truth["log_u"], bands=("f200w",)
    ).formed
    rate = mass * mu * formed * recent_share(age, CLUSTERS.tau) / 1e7
    for name, real in (("log_mass", np.log10(mass * mu)), ("age", age), ("sfr10", rate), ("a_v", truth["a_v"].value)):
        low, high = seds.quantile(name, [0.16, 0.84]).T
        held = np.mean((real > low) & (real < high))
        # Three binomial deviations, and 0.03 for what the photometry leaves: hosts, and sources at the edge in S/N.
        assert held == pytest.approx(0.68, abs=3 * np.sqrt(0.68 * 0.32 / n) + 0.03), name


def test_masses_are_unbiased(chain: Any) -> None:
    truth, seds = chain
    median = seds.quantile("log_mass", [0.16, 0.5, 0.84])
    real = np.log10(truth["mass"].value * np.abs(truth["mu"]))
    pull = (median[:, 1] - real) / (0.5 * (median[:, 2] - median[:, 0]))
    # The median of n pulls scatters by 1.25 / sqrt(n).
    assert abs(np.median(pull)) < 3 * 1.25 / np.sqrt(len(pull)) + 0.1
