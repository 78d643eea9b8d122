"""A click on a clump, part by part: fit, catalogue row, step of the session, analysis up to the plots' numbers."""

import time

import numpy as np

from sc_lab.clumps import Observation
from sc_lab.errors import InputError
from sc_lab.mock import make_field
from sc_lab.session import population_of
from sc_lab.session.clump_editor import ClumpEditor


class _Watch:
    """Adds up the time spent in calls of one function."""

    def __init__(self, function):
        self.function, self.took = function, 0.0

    def __call__(self, *args, **kwargs):
        start = time.perf_counter()
        try:
            return self.function(*args, **kwargs)
        finally:
            self.took += time.perf_counter() - start


def look(population):
    """Ask for what the plots' first paint asks for."""
    for name in ("mass", "r_eff", "sigma_mass", "z_form", "age_onset", "mu", "dynamical_age"):
        population.errors(name)
    return population.counts, population.status, population.gc.x


def main(size=50.0, clicks=12):
    """Print milliseconds a click, the middle of the clicks, beside the targets."""
    from sc_lab import photometry

    field = make_field(seed=1, size=size)
    truth = field.truth[(field.truth["kind"] == "clump") & (field.truth["snr"] > 6) & (field.truth["galaxy"] != "")][
        :500
    ]
    watch = _Watch(photometry.fit_clumps)
    photometry.fit_clumps = watch
    start = time.perf_counter()
    editor = ClumpEditor.start(Observation(field=field), truth["id", "ra", "dec", "galaxy"])
    first = time.perf_counter() - start
    print(
        f"{len(truth)} clumps x {len(field.names)} bands measured from scratch: {first:.2f} s, fits {watch.took:.2f} s"
    )
    population = population_of(editor.session)
    start = time.perf_counter()
    look(population)
    print(f"first analysis ({population.settings.n_populations} draws): {1e3 * (time.perf_counter() - start):.0f} ms")
    rng = np.random.default_rng(1)
    start_ra, start_dec = (np.asarray(editor.clumps[name]) for name in ("ra", "dec"))
    rows, touched, refused = [], [], 0
    for row in rng.choice(len(truth), clicks, replace=False).tolist():
        ra, dec = float(start_ra[row]) + 1e-4, float(start_dec[row]) + 1e-4
        watch.took = 0.0
        times = [time.perf_counter()]
        try:
            editor.add(ra, dec, galaxy=str(truth["galaxy"][row]))
        except InputError:  # beside a bright clump there may be nothing to measure, and the click is refused
            refused += 1
            continue
        times.append(time.perf_counter())
        anew = editor.fits.meta["photometry"]["refitted"]
        population = population_of(editor.session, previous=population)
        look(population)
        times.append(time.perf_counter())
        editor.session.undo()
        population = population_of(editor.session, previous=population)
        look(population)
        times.append(time.perf_counter())
        steps = np.diff(times)
        rows.append([watch.took, steps[0] - watch.took, steps[1], steps[2]])
        touched.append(anew)
    fit, rest, analysis, undo = 1e3 * np.median(rows, axis=0)
    shapes, fluxes = np.median(touched, axis=0)
    print(f"{len(rows)} clicks, {refused} refused as not measurable")
    print(f"a click, fits of what it touches:  {fit:6.1f} ms   ({shapes:.0f} shapes, {fluxes:.0f} x bands fluxes)")
    print(f"a click, beyond the fits:          {rest:6.1f} ms   (target: a few)")
    print(f"analysis after it, to first paint: {analysis:6.1f} ms   (target: 30)")
    print(f"undo with its analysis:            {undo:6.1f} ms")
    photometry.fit_clumps = watch.function


if __name__ == "__main__":
    main()
