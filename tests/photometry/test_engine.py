"""The first answer never waits for the compiler, and the choice of engine is the caller's."""

import os
import subprocess
import sys
import time

import pytest

from sc_lab.errors import InputError
from sc_lab.photometry import choose_engine, compiled_is_ready, prepare

PROGRAM = """
import numpy as np
from sc_lab.photometry import choose_engine, compiled_is_ready, fit_boxes
yy, xx = np.mgrid[-15:16, -15:16]
psf = np.exp(-(xx**2 + yy**2) / 3)
fits = fit_boxes(np.random.default_rng(1).normal(size=(50, 9, 9)), 1.0, psf / psf.sum(), engine="auto")
print(compiled_is_ready(), choose_engine("auto"), round(float(fits.chi2.sum()), 6))
"""


def run(folder, **environment):
    """Run the program with a compile cache of its own."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "NUMBA_CACHE_DIR": str(folder), **environment},
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_without_a_compiled_cache_numpy_answers(tmp_path):
    ready, engine, _ = run(tmp_path, SC_LAB_NO_COMPILE="1")
    assert (ready, engine) == ("False", "numpy")
    assert not list(tmp_path.rglob("*.ready"))


@pytest.mark.slow
def test_a_background_process_fills_the_cache_and_the_numbers_stay(tmp_path):
    _, engine, first = run(tmp_path)
    assert engine == "numpy"
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob("*.ready")):
        assert time.monotonic() < deadline, "the background process never finished"
        time.sleep(0.5)
    ready, engine, second = run(tmp_path, SC_LAB_NO_COMPILE="1")
    assert (ready, engine) == ("True", "compiled")
    assert first == second


def test_after_preparing_the_compiled_engine_serves(compiled):
    assert compiled_is_ready()
    assert choose_engine("auto") == "compiled"
    prepare(background=True)  # nothing to do, and nothing goes wrong


def test_a_wish_is_respected():
    assert choose_engine("numpy") == "numpy"
    assert choose_engine("compiled") == "compiled"
    with pytest.raises(InputError, match="auto, compiled, numpy"):
        choose_engine("gpu")
