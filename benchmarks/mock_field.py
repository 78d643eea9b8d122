"""The mock field: seconds of one core and peak memory for the demonstration's 30 x 30 arcsec and smaller ones."""

import resource
import sys
import time

import astropy.units as u

from sc_lab.mock import make_field
from sc_lab.mock.psfs import FILTERS

TARGET = 20.0


def main():
    """Print the time of each size, smallest first, beside the target of the default size."""
    start = time.process_time()
    make_field(size=4, bands=["F150W"], galaxies=2)
    print(f"first use (imports, cosmology, pupil): {time.process_time() - start:.2f} s of CPU")
    for size in (12.0, 20.0, 30.0):
        start, wall = time.process_time(), time.perf_counter()
        field = make_field(size=size * u.arcsec)
        cpu, wall = time.process_time() - start, time.perf_counter() - wall
        clumps = field.truth[field.truth["kind"] == "clump"]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024.0 if sys.platform != "darwin" else 1024.0**2)
        target = f" (target {TARGET:.0f} s)" if size == 30.0 else ""
        print(
            f'{size:.0f}" x {size:.0f}", {len(FILTERS)} bands: {cpu:.1f} s of CPU, {wall:.1f} s of time{target}, '
            f"peak memory {peak:.0f} MB; {len(field.galaxies)} images of galaxies, {len(clumps)} of clumps, "
            f"{(clumps['snr'] > 5).sum()} above S/N 5"
        )


if __name__ == "__main__":
    main()
