"""The SED engine: time and memory of ours, and bagpipes with its nested sampler on the same source in the same run."""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import astropy.units as u
import numpy as np

BANDS = ("F090W", "F115W", "F150W", "F200W", "F277W", "F356W", "F410M", "F444W", "F480M")
ONE_THREAD = dict.fromkeys(("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def make_sources(n, z, rng):
    """Return fluxes and errors [nJy] of young clusters at one redshift or many, S/N 3 to 50 in F200W."""
    from sc_lab.sed import SedModel, get_filters, model_fluxes

    rng = np.random.default_rng(rng)
    truth = {
        "age": 10 ** rng.uniform(0.3, 2.5, n),
        "metallicity": 10 ** rng.uniform(-1.5, 0.1, n),
        "a_v": rng.uniform(0.0, 0.8, n),
        "log_u": rng.uniform(-3.0, -1.0, n),
        "log_mass_formed": np.full(n, 6.7),
    }
    flux = model_fluxes(SedModel(), get_filters(BANDS), np.broadcast_to(z, n).astype(float), truth)
    err = (flux[:, 3] / np.exp(rng.uniform(np.log(3), np.log(50), n)))[:, None] * np.ones(len(BANDS))
    return flux + err * rng.standard_normal(flux.shape), err


def one_by_one(n=200):
    """Print the time of single sources with tables in memory, one thread."""
    from sc_lab.sed import fit_photometry

    flux, err = make_sources(n, 2.0, 1)
    fit_photometry(flux[0], err[0], BANDS, 2.0, rng=0)
    wall, cpu, ess = [], [], []
    for k in range(n):
        start, used = time.perf_counter(), time.process_time()
        fit = fit_photometry(flux[k], err[k], BANDS, 2.0, rng=k)
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
        ess.append(fit.ess)
    half, high = np.percentile(wall, [50, 95]) * 1e3
    print(
        f"a source of nine bands, tables in memory, one thread: median {half:.1f} ms (target 15), p95 {high:.1f} ms; "
        f"CPU median {np.median(cpu) * 1e3:.1f} ms, p95 {np.percentile(cpu, 95) * 1e3:.1f} ms; effective draws "
        f"{np.median(ess):.0f}, least {np.min(ess):.0f} (target 400)"
    )
    return float(np.median(cpu))


def prior_steps(n=10):
    """Print the time of a fit after steps of priors at a redshift whose rows are kept, one thread."""
    from sc_lab.sed import Gaussian, LogUniform, Priors, Uniform, fit_photometry

    flux, err = make_sources(n, 2.0, 1)
    fit_photometry(flux[0], err[0], BANDS, 2.0, rng=0)
    same, stepped, floor = [], [], []
    for k in range(n):
        part = 0.01 * (k + 1)
        steps = (
            Priors(a_v=Uniform(0, 1 - part)),
            Priors(age=Uniform(1 + 10 * part, 1000 * (1 + part))),
            Priors(metallicity=LogUniform(0.02 + part, 1.0)),
            Priors(a_v=Gaussian(0.3, 0.1 + part)),
        )
        for times, more in (
            *((stepped, {"priors": priors}) for priors in steps),
            (floor, {"error_floor": 0.03 + part}),
            (same, {}),
        ):
            start = time.perf_counter()
            fit_photometry(flux[k], err[k], BANDS, 2.0, rng=k, **more)
            times.append(time.perf_counter() - start)
    middle, far = np.percentile(stepped, [50, 95]) * 1e3
    print(
        f"a fit after a step of a prior: median {middle:.1f} ms, p95 {far:.1f} ms (target 20); after another error floor "
        f"{np.median(floor) * 1e3:.1f} ms; unchanged {np.median(same) * 1e3:.1f} ms"
    )


def new_redshifts(n=10):
    """Print what the first fit at a redshift costs more than the next, disk cache empty, and the memory of many."""
    from sc_lab.sed import fit_photometry

    first, second = [], []
    for k, z in enumerate(np.linspace(1.013, 8.937, n)):
        flux, err = make_sources(1, z, k)
        for times in (first, second):
            start = time.perf_counter()
            fit_photometry(flux[0], err[0], BANDS, z, rng=k)
            times.append(time.perf_counter() - start)
    extra = np.array(first) - np.array(second)
    print(f"a new redshift: median {np.median(extra):.3f} s, largest {extra.max():.3f} s more (target 0.3)")


def memory(n=100):
    """Print the peak memory of a process that fits at many redshifts."""
    from sc_lab.sed import fit_photometry

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024.0 if sys.platform != "darwin" else 1024.0**2)

    before = peak()
    z = np.linspace(0.5, 9.5, n)
    flux, err = make_sources(n, z, 1)
    for k in range(n):
        fit_photometry(flux[k], err[k], BANDS, z[k], rng=k)
    print(f"{n} redshifts: peak memory {peak():.0f} MB, {before:.0f} MB of it before the first fit (target 1000)")


def whole_sample(n=222):
    """Print the time of all clusters of a sample with two time scales, in a fresh process without tables."""
    start, used = time.perf_counter(), time.process_time()
    from sc_lab.sed import fit_photometry

    # As many redshifts as the candidates of the paper have: about one for three clusters.
    z = np.random.default_rng(3).choice(np.round(np.random.default_rng(2).uniform(0.7, 6.5, n // 3), 4), n)
    flux, err = make_sources(n, z, 1)
    made, made_cpu = time.perf_counter(), time.process_time()
    for tau in (1.0, 10.0):
        fits = fit_photometry(flux * u.nJy, err * u.nJy, BANDS, z, tau=tau * u.Myr, rng=1)
    wall, cpu = time.perf_counter() - made, time.process_time() - made_cpu
    print(
        f"{n} clusters at {len(np.unique(z))} redshifts, tau = 1 and 10 Myr, nothing cached: {wall:.1f} s of time, "
        f"{cpu:.1f} s of CPU (target 10); before that {made - start:.1f} s ({made_cpu - used:.1f} s) for imports and "
        f"the mocks; least effective draws {min(fit.ess for fit in fits):.0f}"
    )


def galaxy():
    """Print the time of a galaxy with a binned star-formation history."""
    from sc_lab.sed import fit_photometry

    flux, _ = make_sources(1, 2.0, 5)
    err = 0.05 * np.abs(flux[0]) + 0.5
    fit_photometry(flux[0], err, BANDS, 2.0, sfh="continuity", rng=0)
    used = time.process_time()
    fit = fit_photometry(flux[0], err, BANDS, 2.0, sfh="continuity", rng=1)
    used = time.process_time() - used
    print(f"continuity galaxy, tables in memory: {used:.2f} s of CPU (target 1.5), effective draws {fit.ess:.0f}")


def beside_bagpipes(ours, live, sources):
    """Print CPU and answers of bagpipes with nautilus beside ours."""
    from sc_lab.sed import fit_photometry

    flux, err = make_sources(sources, 2.0, 1)
    ratios = []
    for k in range(sources):
        mine = fit_photometry(flux[k], err[k], BANDS, 2.0, mode="compat", rng=k)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        theirs = fit_photometry(flux[k], err[k], BANDS, 2.0, engine="bagpipes", n_live=live, rng=k)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        ratios.append(cpu / ours)
        print(f"bagpipes + nautilus, {live} live points: {cpu:.1f} s of CPU, {ratios[-1]:.0f} times ours (target 3000)")
        for name, words in (("log_mass", "log M"), ("age", "age [Myr]"), ("a_v", "A_V")):
            sides = [fit.quantile(name, [0.16, 0.5, 0.84]) for fit in (mine, theirs)]
            print("   " + words + ": " + "; ".join(" ".join(f"{value:.3f}" for value in side) for side in sides))
        print(f"   ln Z: {mine.log_evidence:.3f}; {theirs.log_evidence:.3f}")
    return ratios


def alone(part, *, again=False):
    """Run one part in a fresh process with one thread and an empty cache; ``again`` runs it with the filled one too."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "astropy").mkdir()
        environment = {**os.environ, **ONE_THREAD, "XDG_CACHE_HOME": folder}
        command = [sys.executable, str(Path(__file__)), "--part", part]
        for words in ("", "again, tables on disk: ")[: 1 + again]:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            print(words + (done.stdout.rstrip() or done.stderr[-2000:]), flush=True)
        return done.stdout


PARTS = {
    "one": lambda: print(json.dumps(one_by_one())),
    "steps": prior_steps,
    "redshifts": new_redshifts,
    "memory": memory,
    "sample": whole_sample,
    "galaxy": galaxy,
}


def main():
    """Print every figure beside its target; ``--live`` sets the live points of nautilus, ``--sources`` how many it fits."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--part", choices=PARTS)
    parser.add_argument("--live", type=int, default=400)
    parser.add_argument("--sources", type=int, default=1)
    given = parser.parse_args()
    if given.part:
        PARTS[given.part]()
        return
    said = alone("one")
    for part in ("steps", "redshifts", "memory", "sample", "galaxy"):
        # The very first use makes the spectra of the library anew, which takes more memory than any later one.
        alone(part, again=part == "memory")
    if given.sources:
        beside_bagpipes(float(said.splitlines()[-1]), given.live, given.sources)


if __name__ == "__main__":
    main()
