"""Lenses that several tests look through."""

import pytest

from sc_lab.lensing import DPIE, ExternalShear, ParametricLens, Posterior, scaled_members


@pytest.fixture(scope="session")
def smooth():
    """Return a smooth cluster without galaxies: what maps of 0.1 arcsec resolve."""
    return ParametricLens(
        [
            DPIE(0.4, -0.7, 1000.0, core=6.0, cut=300.0, ellipticity=0.4, angle=-36.0),
            DPIE(-12.0, 9.0, 400.0, core=5.0, cut=100.0, ellipticity=0.2, angle=70.0),
            ExternalShear(0.06, 50.0),
        ],
        z_lens=0.35,
        ra=342.18,
        dec=-44.53,
        name="smooth",
    )


@pytest.fixture(scope="session")
def cluster():
    """Return a cluster with galaxies and a posterior: a free halo, members with a free dispersion."""
    import numpy as np

    rng = np.random.default_rng(3)
    members = scaled_members(
        rng.uniform(-30, 30, 20), rng.uniform(-30, 30, 20), rng.uniform(18, 22, 20),
        mag0=19.0, sigma0=150.0, cut0=9.0, core0=0.03, ellipticity=rng.uniform(0, 0.5, 20), angle=rng.uniform(0, 180, 20),
    )  # fmt: skip
    halo = DPIE(0.0, 0.0, 1000.0, core=8.0, cut=250.0, ellipticity=0.4, angle=30.0, name="O1")
    shear = ExternalShear(0.05, 20.0, name="O2")
    n = 40
    scale = rng.normal(1.0, 0.05, n)
    values = {
        (0, "x"): rng.normal(0, 0.3, n),
        (0, "sigma"): rng.normal(1000, 15, n),
        (0, "core"): rng.normal(8, 0.5, n),
        (1, "gamma"): rng.normal(0.05, 0.01, n),
        **{(2 + k, "sigma"): member.sigma * scale for k, member in enumerate(members)},
    }
    return ParametricLens(
        [halo, shear, *members],
        z_lens=0.35,
        ra=342.18,
        dec=-44.53,
        name="M1",
        rms=0.5,
        posterior=Posterior(n=n, values=values, redshifts={"4": rng.normal(3, 0.1, n)}),
    )
