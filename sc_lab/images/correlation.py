"""What noise that neighbouring pixels share does to the error of a weighted sum."""

from __future__ import annotations

import math

import numpy as np
from scipy import signal

from sc_lab.units import FloatArray

__all__ = ["noise_factor"]


def noise_factor(weights: FloatArray, correlation: FloatArray | None) -> float:
    """Return by how much correlated noise raises the error of a weighted sum of pixels.

    Parameters
    ----------
    weights : ndarray, shape (ny, nx)
        Weight of each pixel times its error.
    correlation : ndarray, shape (2 k + 1, 2 k + 1), optional
        Autocorrelation of the noise, 1 in the middle; None means independent pixels.

    Returns
    -------
    float
        sqrt(sum_ij w_i w_j rho_ij / sum_i w_i^2); 1 for independent pixels, and never less: a smaller value
        would be the noise of the autocorrelation itself.
    """
    white = float((weights**2).sum())
    if correlation is None or white <= 0:
        return 1.0
    rho = np.asarray(correlation, dtype=np.float64)
    # "same" keeps the shape of the first array, so that one must be the larger.
    grown = [max(0, r - w + 1) // 2 + 1 if r > w else 0 for r, w in zip(rho.shape, weights.shape, strict=True)]
    padded = np.pad(weights, [(each, each) for each in grown])
    spread = signal.oaconvolve(padded, rho, mode="same")
    return math.sqrt(max(float((padded * spread).sum()) / white, 1.0))
