"""Time the bootstrap of both mass functions against one emcee run, in one process.

Run: ``python benchmarks/cmf_bootstrap.py``. The populations are the paper's: 500 draws of 60 objects. Beside ours
stand emcee with the paper's settings (100 walkers, 600 steps) on ONE population, by our vectorised likelihood and by
the plain script that the field writes: one likelihood call a walker, its normalisation by `scipy.integrate.quad`.
"""

from __future__ import annotations

import argparse
import math
import time

import emcee
import numpy as np
from scipy import integrate

from sc_lab.cmf import MassFunctionGrid, bootstrap_mass_function, draw_masses, fit_mass_function, mass_function

M_MIN = 2e6
MODELS = ("power_law", "schechter")


def plain_script(masses, n_steps):
    """Fit a Schechter function as a public script would: readable, one point at a time."""
    x = masses / M_MIN
    rng = np.random.default_rng(1)

    def log_prob(theta):
        beta, log_mc = theta
        if not (-3 <= beta <= -1 and math.log10(M_MIN) <= log_mc <= 9):
            return -math.inf
        t = M_MIN / 10**log_mc
        norm, _ = integrate.quad(lambda y: math.exp((beta + 1) * y - t * math.exp(y)), 0, math.log(1 + 45 / t))
        return beta * np.log(x).sum() - t * x.sum() - len(x) * math.log(norm)

    start = np.array([-1.7, 8.0]) + 0.1 * rng.standard_normal((100, 2))
    sampler = emcee.EnsembleSampler(100, 2, log_prob)
    sampler.run_mcmc(start, n_steps)
    return np.quantile(sampler.get_chain(discard=n_steps // 6, flat=True), 0.5, axis=0)


def clock(call, repeat):
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - start)
    return float(np.median(times)), result


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=7, help="runs of ours, of which the median is printed")
    parser.add_argument(
        "--plain-steps", type=int, default=600, help="steps of the plain script; the time is scaled to 600"
    )
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    masses = draw_masses(60, mass_function("schechter", M_MIN), beta=-1.7, log_mc=8.14, rng=rng)
    draws = masses * 10 ** (0.15 * rng.standard_normal((500, 60)))
    selected = np.ones(draws.shape, dtype=bool)

    def both():
        return [bootstrap_mass_function(draws, selected, model=model, m_min=M_MIN) for model in MODELS]

    def live():
        fit = MassFunctionGrid("schechter", M_MIN).fit(masses)
        return [fit.quantile(name, [0.16, 0.5, 0.84]) for name in fit.parameters], fit.posterior("beta")

    both()
    ours, result = clock(both, options.repeat)
    step, _ = clock(live, options.repeat)
    sampler, chain = clock(lambda: fit_mass_function(masses, m_min=M_MIN, method="emcee", rng=1), 3)
    start = time.perf_counter()
    plain = plain_script(masses, options.plain_steps)
    public = (time.perf_counter() - start) * 600 / options.plain_steps
    exact = fit_mass_function(masses, m_min=M_MIN)
    print(f"one slider step: normalisation, exact fit, quantiles, curve    {step * 1e3:9.2f} ms")
    print(f"500 populations x 60 objects, both models                      {ours * 1e3:9.1f} ms")
    print(
        f"emcee 100 x 600, ONE population, our vectorised likelihood     {sampler * 1e3:9.1f} ms  = {sampler / ours:7.1f} x"
    )
    print(
        f"emcee 100 x 600, ONE population, plain script                  {public * 1e3:9.1f} ms  = {public / ours:7.1f} x"
    )
    print(f"the plain script for all 1000 fits would take {public * 1000 / ours:.0f} times as long as ours")
    for k, name in enumerate(("beta", "log_mc")):
        print(
            f"median {name}: exact {exact.quantile(name, 0.5):.3f}, emcee {chain.quantile(name, 0.5):.3f}, "
            f"plain {plain[k]:.3f}; bootstrap 16-84 % {np.round(np.nanquantile(result[1].medians[name], [0.16, 0.84]), 3)}"
        )


if __name__ == "__main__":
    main()
