"""Formation redshifts: a million of ours beside astropy's z_at_value, as a ratio in one run."""

import time

import astropy.units as u
import numpy as np
from astropy.cosmology import z_at_value

from sc_lab.cosmology import default_cosmology, make_cosmology
from sc_lab.formation import formation_redshift


def _best(call, times=5):
    took = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        took.append(time.perf_counter() - start)
    return min(took)


def main(n=1_000_000, n_astropy=30):
    """Print seconds per million and the ratio to astropy, for the closed form and the table."""
    rng = np.random.default_rng(1)
    z, age = rng.uniform(0, 9, n), rng.uniform(0, 400, n)
    for name, cosmology in (("flat, closed form", default_cosmology()), ("open, table", make_cosmology(70, 0.3, 0.6))):
        formation_redshift(1.0, 1.0, cosmology=cosmology)  # makes the table once
        ours = _best(lambda c=cosmology: formation_redshift(z, age, cosmology=c)) / n

        def peer(c=cosmology):
            times = c.age(z[:n_astropy]) - age[:n_astropy] * u.Myr
            return np.array([float(z_at_value(c.age, each, zmax=2000)) for each in times])

        theirs = _best(peer, 1) / n_astropy
        worst = np.abs(formation_redshift(z[:n_astropy], age[:n_astropy], cosmology=cosmology) - peer()).max()
        print(
            f"{name:18s} ours {ours * 1e6:.3f} s per million, z_at_value {theirs * 1e6:.0f} s per million, "
            f"ratio {theirs / ours:.0f}; largest difference {worst:.1e} in z"
        )


if __name__ == "__main__":
    main()
