"""Tables of band fluxes: the first of a filter set, a new redshift, one from disk; memory of a hundred; bulk models."""

import os
import tempfile
import time
from pathlib import Path

import numpy as np

BANDS = ["F435W", "F606W", "F814W", "F115W", "F150W", "F200W", "F277W", "F356W", "F444W"]


def _took(call):
    """Return wall and processor seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def _resident():
    """Return the memory of the process without what it maps from files [MB]; NaN where the system does not say."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return float("nan")
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    return int(lines["RssAnon"].split()[0]) / 1000.0


def main():
    """Print all of it, for both modes."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sc_lab").mkdir()
        os.environ["XDG_CACHE_HOME"] = folder
        from sc_lab.sed import SedModel, make_tables, model_fluxes, model_spectra
        from sc_lab.sed.tables import clear_tables

        rng = np.random.default_rng(1)
        n = 1000
        many = {
            "age": 10 ** rng.uniform(0.1, 2.8, n),
            "log_mass_formed": rng.uniform(5, 8, n),
            "metallicity": 10 ** rng.uniform(-3, 0.17, n),
            "a_v": rng.uniform(0, 1, n),
            "log_u": rng.uniform(-3, -1, n),
        }
        shifts = rng.uniform(0.5, 6.0, n)
        for mode in ("compat", "fine"):
            model = SedModel(mode=mode)
            first = _took(lambda m=model: make_tables(m, BANDS, 1.4))
            grid = np.linspace(0.5, 8.0, 100)
            each = np.array([_took(lambda m=model, z=z: make_tables(m, BANDS, z, log_u_range=(-3, -1))) for z in grid])
            memory = _resident()
            clear_tables()
            disk = np.array([_took(lambda m=model, z=z: make_tables(m, BANDS, z, log_u_range=(-3, -1))) for z in grid])
            print(
                f"{mode:6s} first table {first[0]:.2f} s; a new redshift {np.median(each[:, 0]) * 1e3:.1f} ms (processor "
                f"{np.median(each[:, 1]) * 1e3:.1f}), from disk {np.median(disk[:, 0]) * 1e3:.1f} ms; "
                f"after 100 redshifts {memory:.0f} MB"
            )
            one = _took(lambda m=model: model_fluxes(m, BANDS, 2.0, many))
            bulk = _took(lambda m=model: model_fluxes(m, BANDS, shifts, many))
            draws = {name: values[:200] for name, values in many.items()}
            model_spectra(model, 1.4, draws)
            curves = min(_took(lambda m=model, d=draws: model_spectra(m, 1.4, d))[0] for _ in range(5))
            print(
                f"       1000 models at one redshift {one[1]:.2f} s, at 1000 redshifts {bulk[1]:.2f} s (processor); "
                f"200 spectra {curves * 1e3:.0f} ms"
            )


if __name__ == "__main__":
    main()
