"""Posteriors of the grid engine against two judges that share nothing with it: prior draws, and calibration on mocks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare, kstest

sys.path.insert(0, str(Path(__file__).parent))

from prior_monte_carlo import PriorMonteCarlo

from sc_lab.cosmology import clock
from sc_lab.inference.summary import weighted_quantile
from sc_lab.sed import LogUniform, Priors, Uniform, fit_photometry, get_filters, model_fluxes
from sc_lab.sed.model import SedModel

BANDS = ("F090W", "F115W", "F150W", "F200W", "F277W", "F356W", "F410M", "F444W", "F480M")
MODEL = SedModel()
FLOOR = 0.03


def make_mocks(z: float, ages: Any, snr: Any, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy fluxes and errors of sources with random dust, metals and gas; S/N is that of the F200W band."""
    n = len(ages)
    truth = {
        "age": np.asarray(ages, dtype=float),
        "metallicity": 10 ** rng.uniform(-2.0, 0.1, n),
        "a_v": rng.uniform(0.0, 0.9, n),
        "log_u": rng.uniform(-3.0, -1.0, n),
        "log_mass_formed": np.full(n, 6.5),
    }
    flux = model_fluxes(MODEL, get_filters(BANDS), z, truth)
    err = np.repeat((flux[:, 3] / np.asarray(snr))[:, None], len(BANDS), axis=1) * rng.uniform(0.7, 1.4, flux.shape)
    return flux + err * rng.standard_normal(flux.shape), err


def compare(fit: Any, judge: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Return shifts of medians, and ratios of 68 % widths, of the engine against the judge."""
    ours = {
        "log_mass_formed": fit.samples["log_mass_formed"],
        "log_age": np.log10(fit.samples["age"]),
        "a_v": fit.samples["a_v"],
        "log_metallicity": np.log10(fit.samples["metallicity"]),
        "log_u": fit.samples["log_u"],
    }
    out = {}
    for name, values in ours.items():
        low, middle, high = weighted_quantile(values, [0.16, 0.5, 0.84], weights=fit.weights)
        low_j, middle_j, high_j = weighted_quantile(judge["samples"][name], [0.16, 0.5, 0.84], weights=judge["weights"])
        out[name] = (float(middle - middle_j), float((high - low) / (high_j - low_j)), float(high_j - low_j))
    return out


#: Priors that mocks can be drawn from: proper, and narrow enough in mass for S/N to stay where it is wanted. Half of
#: the mocks come from each prior of age.
CALIBRATED = {
    "uniform age": {"age": Uniform(1.0, 300.0)},
    "log-uniform age": {"age": LogUniform(1.5, 800.0)},
}
PARAMETERS = ("log_mass_formed", "age", "a_v", "metallicity", "log_u")


def calibrate(n: int, sky: float, seed: int, *, narrow: float = 0.75) -> tuple[np.ndarray, np.ndarray]:
    """Return the ranks of the truths in their posteriors, shape (n, parameters), for a noise of ``sky`` nJy.

    The second set is of the same posteriors shrunk about their medians by ``narrow``, as an overconfident engine would.
    """
    ranks: list[list[float]] = []
    shrunk: list[list[float]] = []
    # Few redshifts: what is tested is the posterior, not the tables.
    cells = [(z, priors) for z in (0.9, 2.1, 3.7, 6.1) for priors in CALIBRATED.values()]
    for number, (z, ages) in enumerate(cells):
        rng = np.random.default_rng([seed, number])
        priors = Priors(**ages, log_mass_formed=Uniform(6.0, 7.5))
        count = n // len(cells)
        truth = {name: getattr(priors, name).ppf(rng.random(count)) for name in PARAMETERS}
        flux = model_fluxes(MODEL, get_filters(BANDS), z, truth)
        err = np.full_like(flux, sky)
        fits = fit_photometry(
            flux + err * rng.standard_normal(flux.shape), err, BANDS, z, model=MODEL, priors=priors, error_floor=0.0,
            rng=seed,
        )  # fmt: skip
        for k, fit in enumerate(fits):
            for factor, rows in ((1.0, ranks), (narrow, shrunk)):
                rows.append([])
                for name in PARAMETERS:
                    middle = fit.quantile(name, 0.5)
                    values = middle + factor * (fit.samples[name] - middle)
                    rows[-1].append(float(fit.weights[values < truth[name][k]].sum()))
    return np.array(ranks), np.array(shrunk)


def uniformity(ranks: np.ndarray) -> dict[str, tuple[float, float]]:
    """Return p-values of ranks being uniform: chi-squared of ten bins, and Kolmogorov-Smirnov."""
    out = {}
    for name, column in zip(PARAMETERS, ranks.T, strict=True):
        counts = np.histogram(column, np.linspace(0, 1, 11))[0]
        out[name] = (float(chisquare(counts).pvalue), float(kstest(column, "uniform").pvalue))
    return out


def agreement(z: float, ages: Any, snr: Any, seed: int, *, n: int, wanted: float) -> list[tuple[str, float, float]]:
    """Return what lies outside the tolerances, as (what, found, allowed), for mocks at one redshift.

    The tolerances are those that the engine is built to: 0.01 dex and 0.01 mag for medians, 5 % for 68 % widths, 0.1 in
    ln Z. Both sides are finite sets of draws: a median of N of them scatters by 1.25 standard deviations over the root
    of N, a width by 1.2 times itself over the same root, of which three are allowed beside. The Monte Carlo draws more
    until ``wanted`` effective draws make that small.
    """
    rng = np.random.default_rng(seed)
    flux, err = make_mocks(z, ages, snr, rng)
    fits = fit_photometry(flux, err, BANDS, z, model=MODEL, n_draws=20_000, rng=seed)
    used = np.hypot(err, FLOOR * np.abs(flux))
    judge = PriorMonteCarlo(MODEL, BANDS, z, n=n, rng=seed)
    wrong = []
    for k, fit in enumerate(fits):
        judge.n = n
        answer = judge.posterior(flux[k], used[k])
        while answer["ess"] < wanted and judge.n < 16 * n:
            judge.n *= 4
            answer = judge.posterior(flux[k], used[k])
        root = np.sqrt(1 / answer["ess"] + 1 / min(fit.ess, 20_000))
        where = f"z = {z}, {ages[k]:.0f} Myr, S/N {snr[k]:.0f}"
        difference = abs(fit.log_evidence - answer["log_evidence"])
        if difference > 0.1 + 3 * root:
            wrong.append((f"ln Z, {where}", difference, 0.1 + 3 * root))
        for name, (shift, ratio, width) in compare(fit, answer).items():
            # Of metals and gas nine bands say little, and the specification nothing: a fortieth of their width.
            tolerance = 0.01 if name in ("log_mass_formed", "log_age", "a_v") else 0.025 * width
            allowed = tolerance + 3 * 1.25 * root * width / 2
            if abs(shift) > allowed:
                wrong.append((f"median of {name}, {where}", shift, allowed))
            if abs(ratio - 1) > 0.05 + 3 * 1.2 * root:
                wrong.append((f"width of {name}, {where}", ratio, 0.05 + 3 * 1.2 * root))
    return wrong


def test_the_judge_s_fluxes_are_those_of_the_reference_path() -> None:
    """Interpolation in A_V is the only approximation of the tables."""
    judge = PriorMonteCarlo(MODEL, BANDS, 4.0, n=3000, rng=1)
    rows = slice(None, None, 100)
    np.testing.assert_allclose(judge.wide.flux[rows], judge.exact(judge.wide.unit[rows]), rtol=1e-11)


@pytest.mark.parametrize(("z", "ages"), [(1.4, (4, 60, 1200)), (5.0, (8, 300, 700))])
def test_posteriors_agree_with_independent_prior_draws(z: float, ages: Any) -> None:
    assert agreement(z, ages, (40, 12, 5), 1, n=60_000, wanted=3000) == []


@pytest.mark.slow
@pytest.mark.parametrize("z", [0.5, 1.4, 2.3, 4.0, 6.0, 9.6])
def test_posteriors_of_54_mocks_agree_with_independent_prior_draws(z: float) -> None:
    """Nine mocks at each redshift: S/N 3 to 50, ages from 3 Myr to 2.5 Gyr or four fifths of the Universe's."""
    oldest = min(2500.0, 0.8 * float(clock().age_myr(np.array(z))))
    snr = np.random.default_rng(2).permutation(np.geomspace(3, 50, 9))
    assert agreement(z, np.geomspace(3, oldest, 9), snr, 3, n=60_000, wanted=2500) == []


@pytest.mark.slow
@pytest.mark.parametrize("sky", [2.0, 20.0], ids=["bright", "faint"])
def test_truths_rank_uniformly_in_their_posteriors(sky: float) -> None:
    """Simulation-based calibration (Talts et al. 2018): 512 mocks for each of two levels of noise, all parameters."""
    found = uniformity(calibrate(512, sky, 5)[0])
    # Twenty p-values in all; one below 1e-3 comes by chance once in fifty.
    assert min(min(pair) for pair in found.values()) > 1e-3, found


def test_calibration_catches_intervals_that_are_too_narrow_and_passes_ours() -> None:
    """A quarter off the widths of 256 posteriors is seen; the posteriors as they are pass."""
    honest, narrow = (uniformity(ranks) for ranks in calibrate(256, 5.0, 6))
    assert min(min(pair) for pair in honest.values()) > 1e-3, honest
    assert min(narrow["log_mass_formed"]) < 1e-3, narrow
