"""The lens of the mock: AS1063's parameters, and all images of a source."""

from __future__ import annotations

import numpy as np
import pytest

from sc_lab.lensing import DPIE, ExternalShear
from sc_lab.mock.lens import CENTRE, Lattice, make_lens

_NODES = np.arange(-70.0, 70.05, 0.2)


@pytest.fixture(scope="module")
def lattice() -> Lattice:
    """Return the lens without members on a wide grid."""
    lens = make_lens(np.empty(0), np.empty(0), np.empty(0))
    return Lattice.make(lens, *np.meshgrid(_NODES, _NODES))


def test_holds_the_published_main_parameters() -> None:
    lens = make_lens(np.array([5.0]), np.array([1.0]), np.array([19.6875]))
    halo, shear, bcg, second, member = lens.potentials
    assert isinstance(halo, DPIE)
    assert isinstance(shear, ExternalShear)
    assert (lens.ra, lens.dec) == CENTRE
    assert (halo.sigma, halo.ellipticity, halo.angle) == (1223.74, 0.517298, -36.014434)
    # 98.99 kpc at z = 0.3475 for H0 = 70, Om = 0.3 is 20.13 arcsec, to the digits quoted.
    assert halo.core == pytest.approx(20.13, abs=0.01)
    assert (shear.gamma, shear.angle) == (0.1039, 50.8049)
    assert (bcg.sigma, second.sigma) == (290.77, 203.19)
    # The reference galaxy of the scaling relations itself.
    assert member.sigma == pytest.approx(100.110634, rel=1e-12)
    assert member.cut == pytest.approx(45.0 / 98.99 * halo.core, rel=1e-6)


def test_images_map_back_to_their_source(lattice: Lattice) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(0, 3, 30), rng.normal(0, 3, 30)
    for z in (1.0, 2.0, 6.0):
        found = lattice.images(x, y, z)
        efficiency = float(lattice.lens.efficiency(z))
        alpha_x, alpha_y = lattice.lens.unit_deflection(found.x, found.y)
        assert np.abs(found.x - efficiency * alpha_x - x[found.source]).max() < 1e-9
        assert np.abs(found.y - efficiency * alpha_y - y[found.source]).max() < 1e-9


def test_number_of_images_is_odd_and_their_parities_sum_to_one(lattice: Lattice) -> None:
    """Burke's theorem: a smooth lens has one image more of positive than of negative parity."""
    rng = np.random.default_rng(2)
    x, y = rng.normal(0, 4, 60), rng.normal(0, 4, 60)
    found = lattice.images(x, y, 2.0)
    parity = np.bincount(found.source, weights=np.sign(found.mu), minlength=60)
    # A pair closer than a cell of the grid may be missed, but only as a pair: the sum stays.
    assert np.array_equal(parity, np.ones(60))
    assert np.bincount(found.source, minlength=60).max() >= 3


def test_jacobian_is_the_derivative_of_the_lens_equation(lattice: Lattice) -> None:
    x, y, h = np.array([9.0, 12.0, -7.0]), np.array([8.0, 3.0, 11.0]), 1e-4
    efficiency = float(lattice.lens.efficiency(3.0))
    matrix = lattice.matrix(x, y, efficiency)
    for column, (dx, dy) in enumerate(((h, 0.0), (0.0, h))):
        ahead, behind = lattice.lens.unit_deflection(x + dx, y + dy), lattice.lens.unit_deflection(x - dx, y - dy)
        for row in range(2):
            slope = float(row == column) - efficiency * (ahead[row] - behind[row]) / (2 * h)
            # Differences of numbers of 20 arcsec over 2e-4: rounding leaves 1e-10.
            assert np.abs(matrix[:, row, column] - slope).max() < 1e-8
