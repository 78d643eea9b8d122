"""The light of large mocks is kept on disk: the same numbers again, others for other stars, and no trust in damage."""

import numpy as np
import pytest

from sc_lab.mock import light as lights


@pytest.fixture
def counted(monkeypatch, tmp_path):
    """Return how often models were worked out, with a cache of the test's own."""
    calls = []
    plain = lights.model_fluxes

    def counting(*given, **options):
        calls.append(1)
        return plain(*given, **options)

    monkeypatch.setattr(lights, "cache_folder", lambda: tmp_path / "kept")
    monkeypatch.setattr(lights, "model_fluxes", counting)
    return calls, tmp_path / "kept"


def stars(n=300, age=10.0):
    one = np.ones(n)
    return 2.0 * one, np.linspace(2.0, age, n), 0.1 * one, 0.4 * one, -2.0 * one


def test_the_same_models_are_read_back_and_others_are_not(counted):
    calls, _ = counted
    first, again = (lights.light(*stars(), bands=("f150w", "f444w")) for _ in range(2))
    assert len(calls) == 1
    assert np.array_equal(first.flux, again.flux)
    assert np.array_equal(first.abs_mag_v, again.abs_mag_v)
    lights.light(*stars(age=11.0), bands=("f150w", "f444w"))
    lights.light(*stars(), bands=("f150w",))
    lights.light(*stars(), bands=("f150w", "f444w"), model=lights.GLOBULARS)
    assert len(calls) == 4


def test_a_damaged_file_is_made_anew(counted):
    calls, folder = counted
    first = lights.light(*stars(), bands=("f150w",))
    (path,) = folder.glob("light_*.npz")
    path.write_bytes(path.read_bytes()[:200])
    assert np.array_equal(lights.light(*stars(), bands=("f150w",)).flux, first.flux)
    assert len(calls) == 2


def test_small_mocks_leave_nothing_behind(counted):
    calls, folder = counted
    lights.light(*stars(n=20), bands=("f150w",))
    assert len(calls) == 1
    assert not folder.exists() or not list(folder.iterdir())
