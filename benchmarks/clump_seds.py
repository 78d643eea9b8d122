"""SEDs of a clump list: a field measured with them, a click, a refit of all with a second history, and the project."""

import tempfile
import time
from pathlib import Path

import numpy as np

from sc_lab.clumps import Observation, SedSettings, measure, sed_fits
from sc_lab.mock import make_field
from sc_lab.session import population_of
from sc_lab.session.clump_editor import ClumpEditor


def seconds(work, *arguments, **options):
    """Return what a call gave and how long it took [s]."""
    start = time.perf_counter()
    out = work(*arguments, **options)
    return out, time.perf_counter() - start


def main(size=24.0, most=229, clicks=30):
    """Print times beside their targets, and what a project grows by."""
    field = make_field(seed=1, size=size)
    truth = field.truth
    truth = truth[(truth["kind"] == "clump") & (truth["snr"] > 6) & (truth["galaxy"] != "")][:most]
    places, n_z = truth["id", "ra", "dec", "galaxy"], len({float(each.z) for each in field.galaxies})
    print(f"{len(places)} clumps x {len(field.names)} bands, {n_z} redshifts")
    bare = Observation(field=field, sed=None)
    measure(bare, places)  # compiles what is compiled
    measure(Observation(field=field), places[:2])
    sed_fits.forget()
    _, without = seconds(measure, bare, places)
    measured, took = seconds(measure, Observation(field=field), places)
    fitted = int(np.isfinite(measured.columns["sed_chi2"]).sum())
    print(f"the field measured: {took:5.2f} s, {without:.2f} s without SEDs; {fitted} fitted   (target: a few s)")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.sclab"
        editor, took = seconds(ClumpEditor.start, Observation(field=field), places, project=path)
        print(f"a session begun:    {took:5.2f} s   (nothing is fitted twice)")
        editor.wait_for_tables()
        population = population_of(editor.session)
        rng, rows = np.random.default_rng(1), []
        for row in rng.choice(len(places), clicks).tolist():
            ra, dec = (float(editor.clumps[name][row]) for name in ("ra", "dec"))
            (_, click) = seconds(
                editor.add, ra + rng.normal(0, 1e-4), dec + rng.normal(0, 1e-4), galaxy=str(places["galaxy"][row])
            )
            population, plots = seconds(population_of, editor.session, previous=population)
            (_, more) = seconds(population.errors, "mass")
            rows.append((click, plots + more))
        click, plots = (1e3 * np.quantile(part, [0.5, 0.95]) for part in np.array(rows).T)
        print(f"a click measured:   {click[0]:5.0f} ms, p95 {click[1]:.0f}   (target: near 180)")
        print(f"its analysis:       {plots[0]:5.0f} ms, p95 {plots[1]:.0f}")
        before = path.stat().st_size
        _, took = seconds(editor.refit_seds, SedSettings(second_tau=10))
        grown = (path.stat().st_size - before) / len(editor.clumps) / 1e3
        print(f"all SEDs anew, tau = 1 and 10 Myr: {took:.2f} s; the project grows by {grown:.1f} kB a clump")
        _, took = seconds(editor.session.undo)
        print(f"undone:             {1e3 * took:5.0f} ms")
        editor.close()


if __name__ == "__main__":
    main()
