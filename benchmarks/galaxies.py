"""Host galaxies: CPU seconds, effective draws and agreement of starts for continuity fits of mock galaxies."""

from __future__ import annotations

import argparse
import time

import numpy as np

from sc_lab.sed import Priors, SedModel, StudentT, Uniform, continuity_weights, fit_photometry, model_fluxes

BANDS = ("F090W", "F115W", "F150W", "F200W", "F277W", "F356W", "F410M", "F444W")
#: CPU seconds of one galaxy once everything is compiled.
TARGET = 1.5


def main() -> None:
    """Print a line for each galaxy, and the median beside its target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--galaxies", type=int, default=16)
    parser.add_argument("--emcee", action="store_true", help="also the slow reference, for the first galaxy")
    asked = parser.parse_args()
    rng = np.random.default_rng(1)
    model, priors = SedModel(sfh="continuity"), Priors(a_v=Uniform(0, 3))
    used, within, runs = [], [], 0
    for k in range(asked.galaxies + 1):
        z, snr = float(rng.uniform(0.7, 6.5)), float(10 ** rng.uniform(0.7, 1.8))
        steps = StudentT().ppf(rng.random(continuity_weights(model, z).n_sfh - 1))
        truth = {f"dsfr{i + 1}": step for i, step in enumerate(steps)}
        truth |= {"log_mass_formed": float(rng.uniform(8, 10)), "metallicity": float(10 ** rng.uniform(-1.5, 0.1))}
        truth |= {"a_v": float(rng.uniform(0, 1.5)), "log_u": float(rng.uniform(-3, -1))}
        flux = model_fluxes(model, BANDS, z, truth)[0]
        error = np.full(len(flux), float(np.mean(flux)) / snr)
        data = flux + error * rng.standard_normal(len(flux))
        if k == 0:  # compiles
            fit_photometry(data, error, BANDS, z, model=model, priors=priors, rng=1)
            continue
        start = time.process_time()
        fit_photometry(data, error, BANDS, z, model=model, priors=priors, rng=1, max_steps=200)
        cold = time.process_time() - start
        start = time.process_time()
        fit = fit_photometry(data, error, BANDS, z, model=model, priors=priors, rng=1)
        used.append(time.process_time() - start)
        low, high = fit.quantile("log_mass_formed", [0.16, 0.84])
        inside = bool(low < truth["log_mass_formed"] < high)
        within.append(inside)
        runs += fit.meta["r_hat"] < 1.02 and fit.meta["chain_ess"] >= 400
        print(
            f"z {z:4.2f}, S/N {snr:4.0f}: {used[-1]:5.2f} s of CPU (first at this redshift {cold:4.2f}), "
            f"{fit.meta['chain_ess']:5.0f} effective draws, R-hat {fit.meta['r_hat']:.3f}, {fit.meta['n_steps']:5d} steps, "
            f"ln Z to {fit.meta['log_evidence_err']:.2f}, mass {'inside' if inside else 'outside'} 68 %"
        )
        if asked.emcee and k == 1:
            start = time.process_time()
            slow = fit_photometry(data, error, BANDS, z, model=model, priors=priors, rng=1, sampler="emcee")
            print(
                f"  emcee: {time.process_time() - start:.0f} s of CPU, {slow.meta['chain_ess']:.0f} effective draws, "
                f"log mass {slow.quantile('log_mass', 0.5):.3f} beside {fit.quantile('log_mass', 0.5):.3f}, "
                f"ln Z {slow.log_evidence:.2f} beside {fit.log_evidence:.2f}"
            )
    print(
        f"median {np.median(used):.2f} s, largest {max(used):.2f} s of CPU a galaxy (target {TARGET}); "
        f"{runs} of {len(used)} with R-hat below 1.02 and 400 effective draws; "
        f"truth of the mass inside 68 % in {np.mean(within):.0%}"
    )


if __name__ == "__main__":
    main()
