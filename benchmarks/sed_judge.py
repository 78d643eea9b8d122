"""The live SED engine beside bagpipes with nautilus and 2000 live points: medians, widths, evidence, CPU seconds."""

import argparse
import os
import time

#: One thread, so that CPU seconds are comparable: bagpipes' worker takes one too.
os.environ.update(dict.fromkeys(("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))

import numpy as np

BANDS = ("F090W", "F115W", "F150W", "F200W", "F277W", "F356W", "F410M", "F444W", "F480M")
#: Name, redshift, tau [Myr], S/N in F200W, bands, and the true model. Ages from 3 Myr to 1 Gyr, as in the papers.
CASES = (
    ("young, dusty", 2.0, 1.0, 20.0, BANDS[:6], {"age": 3.0, "metallicity": 0.4, "a_v": 0.4, "log_u": -2.0}),
    ("30 Myr, metal-poor", 1.4, 1.0, 10.0, BANDS[:6], {"age": 30.0, "metallicity": 0.05, "a_v": 0.1, "log_u": -2.5}),
    ("globular, 1 Gyr", 1.4, 1.0, 15.0, BANDS[:6], {"age": 1000.0, "metallicity": 0.1, "a_v": 0.05, "log_u": -2.0}),
    ("faint, tau 10", 4.0, 10.0, 4.0, BANDS, {"age": 60.0, "metallicity": 0.2, "a_v": 0.2, "log_u": -2.0}),
    ("early, bright", 9.6, 1.0, 30.0, BANDS[2:], {"age": 8.0, "metallicity": 0.02, "a_v": 0.1, "log_u": -1.5}),
)
NAMES = ("log_mass", "age", "a_v", "metallicity", "log_u", "abs_mag_v")


def make_source(case, seed):
    """Return fluxes and errors [nJy] of a case, from the model that both engines fit."""
    from sc_lab.sed import SedModel, get_filters, model_fluxes

    _, z, tau, snr, bands, truth = case
    model = SedModel(tau=tau, mode="compat")
    flux = model_fluxes(model, get_filters(bands), z, {**truth, "log_mass_formed": 6.7})[0]
    # The same depth in all bands, within a factor of two.
    rng = np.random.default_rng(seed)
    error = flux[bands.index("F200W")] / snr * 2.0 ** rng.uniform(-0.5, 0.5, len(bands))
    return model, flux + error * rng.standard_normal(len(bands)), error


def run(case, n_live, n_eff, seed, *, log_age):
    """Fit one case with both engines; print and return CPU seconds and what they find."""
    from sc_lab.sed import fit_photometry
    from sc_lab.sed.judging import compare, judge

    title, z, _, _, bands, truth = case
    model, flux, error = make_source(case, seed)
    begin = time.process_time()
    fit = fit_photometry(flux, error, bands, z, model=model, rng=seed)
    # Tables are in memory now: the second fit costs what every further one does.
    warm = time.process_time()
    fit = fit_photometry(flux, error, bands, z, model=model, rng=seed)
    ours, first = time.process_time() - warm, warm - begin
    judged = judge(fit, n_live=n_live, n_eff=n_eff, log_age=log_age, rng=seed)
    theirs = judged.meta["cpu_seconds"]
    table = compare(fit, judged)
    print(f"\n{title}: z = {z:g}, {len(bands)} bands, truth {truth}")
    print(f"  {'':12s} {'live engine':>18s} {'bagpipes':>18s} {'difference':>11s} {'in sigma':>9s} {'widths':>7s}")
    for row in table:
        if row["name"] in NAMES:
            print(
                f"  {row['name']:12s} {row['median']:9.3f} ± {row['width']:6.3f} {row['judge_median']:9.3f} ± "
                f"{row['judge_width']:6.3f} {row['difference']:+11.3f} {row['in_sigma']:+9.2f} {row['width_ratio']:7.2f}"
            )
    a, b = table.meta["log_evidence"]
    print(
        f"  ln Z {a:.2f} and {b:.2f} ± {table.meta['log_evidence_err']:.2f}: {a - b:+.2f}; chi2 {fit.best_chi2:.2f} and "
        f"{judged.best_chi2:.2f}; effective draws {fit.ess:.0f} and {judged.ess:.0f}"
    )
    print(
        f"  CPU {ours * 1e3:.1f} ms (first at this redshift {first:.2f} s) and {theirs:.0f} s for {judged.meta['n_calls']} "
        f"models: {theirs / ours:.0f} times less",
        flush=True,
    )
    for said in table.meta["cautions"]:
        print(f"  {said}")
    return ours, theirs, {row["name"]: row["in_sigma"] for row in table}, a - b


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-live", type=int, default=2000)
    parser.add_argument("--n-eff", type=int, default=0, help="effective draws that nautilus goes on for; bagpipes: 0")
    parser.add_argument("--log-age", action="store_true", help="bagpipes samples log age; draws are weighted back")
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--cases", type=int, nargs="*", default=range(len(CASES)), help="numbers of cases, from 0")
    chosen = parser.parse_args()
    found = [run(CASES[k], chosen.n_live, chosen.n_eff, chosen.seed + k, log_age=chosen.log_age) for k in chosen.cases]
    ours, theirs = (np.array([each[k] for each in found]) for k in (0, 1))
    worst = {name: max(abs(each[2].get(name, 0.0)) for each in found) for name in NAMES}
    print(
        f"\n{len(found)} mocks, {chosen.n_live} live points: {np.median(theirs / ours):.0f} times less CPU in the median"
    )
    print("largest differences [sigma]: " + ", ".join(f"{name} {value:.2f}" for name, value in worst.items()))
    print(f"ln Z: largest difference {max(abs(each[3]) for each in found):.2f}")


if __name__ == "__main__":
    main()
