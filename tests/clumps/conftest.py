"""A field of point-like stand-ins: what a clump measures depends on its place and on who is near it."""

from __future__ import annotations

from dataclasses import dataclass, field

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable

from sc_lab.catalog import validate
from sc_lab.clumps import Measured, Observation
from sc_lab.images.galaxy import Galaxy

#: Clumps closer than this [arcsec] are fitted together in the stand-in.
JOINT = 0.1


@dataclass(frozen=True, eq=False)
class FakeBand:
    pixel_scale: float = 0.02

    def to_pixel(self, ra, dec):
        return (np.asarray(ra) - 10.0) * -3600 / 0.02, np.asarray(dec) * 3600 / 0.02

    def to_sky(self, x, y):
        return 10.0 - np.asarray(x) * 0.02 / 3600, np.asarray(y) * 0.02 / 3600


@dataclass(frozen=True, eq=False)
class FakeField:
    name: str = "fake"
    reference: str = "F150W"
    names: tuple = ("F150W",)
    lenses: tuple = ()
    cautions: tuple = ("a stand-in",)
    hashes: dict = field(default_factory=lambda: {"F150W": "ab" * 32})
    galaxies: tuple = ()

    def __getitem__(self, name):
        return FakeBand()


def box(ra, dec, half):
    return np.array(
        [(ra - half, dec - half), (ra + half, dec - half), (ra + half, dec + half), (ra - half, dec + half)]
    )


class FakeMeasure:
    """Counts what it is asked for; the numbers are functions of the place and of the neighbours."""

    def __init__(self):
        self.calls = []

    def __call__(self, observation, clumps, *, previous=None, progress=None, cancel=None):
        ra, dec = np.array(clumps["ra"]), np.array(clumps["dec"])
        apart = np.hypot(ra[:, None] - ra, dec[:, None] - dec) * 3600
        near = np.where(apart < JOINT, apart, 0.0).sum(axis=1)
        rows = list(zip(clumps["id"].tolist(), ra.tolist(), dec.tolist(), near.tolist(), strict=True))
        before = set() if previous is None else previous.fits.meta["rows"]
        new = tuple(row[0] for row in rows if row not in before)
        self.calls.append(new)
        zs = {galaxy.id: galaxy.z for galaxy in observation.galaxy_list}
        n = len(clumps)
        wave = 1 + np.abs(np.sin(1e7 * ra) + np.cos(1e7 * dec)) + near
        table = QTable({"id": clumps["id"], "galaxy": clumps["galaxy"], "provenance": clumps["provenance"]})
        table["z"] = [zs[name] for name in clumps["galaxy"].tolist()]
        table["ra"], table["dec"] = (ra + 1e-7) * u.deg, (dec + 1e-7) * u.deg
        table["ra_start"], table["dec_start"] = ra * u.deg, dec * u.deg
        table["mu"], table["mu_err_lo"], table["mu_err_hi"] = np.full(n, 8.0), np.full(n, 1.0), np.full(n, 2.0)
        table["r_eff"] = 10 * wave * u.pc
        table["r_eff_err_lo"] = table["r_eff_err_hi"] = 2 * wave * u.pc
        table["r_eff_is_limit"] = wave < 1.5
        table["mass"] = 3e6 * wave * u.Msun
        table["mass_err_lo"] = table["mass_err_hi"] = 1e6 * wave * u.Msun
        table["age_onset"] = 10 * wave * u.Myr
        table["mag_f150w"] = (29 - wave) * u.mag
        table["mag_f150w"][wave > 2.5] = np.nan
        fits = QTable({"id": clumps["id"], "x": (10.0 - ra) * 180000, "y": dec * 180000})
        fits["std_maj"], fits["theta"], fits["flux_f150w"] = wave, wave, wave
        fits.meta["rows"] = set(rows)
        columns = {name: np.asarray(getattr(table[name], "value", table[name])) for name in validate(table).colnames}
        return Measured(columns=columns, fits=fits, refitted=new, observation=observation)


@pytest.fixture
def measure():
    return FakeMeasure()


@pytest.fixture
def observation():
    """Two galaxies, 20 arcsec apart."""
    galaxies = (
        Galaxy(id="g1", contour=box(10.0, 0.0, 0.001), z=2.0),
        Galaxy(id="g2", contour=box(10.006, 0.0, 0.001), z=6.0),
    )
    return Observation(field=FakeField(galaxies=galaxies))


@pytest.fixture
def positions():
    """Eight clumps in the first galaxy, two of them 0.05 arcsec apart, and four in the second."""
    ra = 10.0 + np.array([-8, -6, -4, -2, 0, 0.14, 4, 6, 58, 59, 60, 61]) * 1e-4
    dec = np.array([1, -2, 3, -4, 5, 5, -5, 4, -3, 2, -1, 0]) * 1e-4
    return QTable({"ra": ra, "dec": dec})
