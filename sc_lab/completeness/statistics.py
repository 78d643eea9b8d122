"""The numbers that an injection run is summed up in: shares with binomial errors, biases, pulls."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sc_lab.units import FloatArray

__all__ = ["Bias", "Cells", "Pull", "middle_and_scatter"]

#: Median absolute deviation to standard deviation of a normal distribution.
_MAD_TO_STD = 1.482602218505602


@dataclass(frozen=True, eq=False)
class Cells:
    """Counts in the cells of a grid, and the chance to be detected with its binomial error.

    Attributes
    ----------
    injected, recovered : ndarray of int
        Clumps, by the axes asked for.
    """

    injected: npt.NDArray[np.int64]
    recovered: npt.NDArray[np.int64]

    @property
    def fraction(self) -> FloatArray:
        """Recovered share; NaN where nothing was injected."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.recovered / self.injected, dtype=np.float64)

    @property
    def interval(self) -> tuple[FloatArray, FloatArray]:
        """Ends of the 68 % interval of the chance: quantiles of Beta(k + 1/2, n - k + 1/2), Jeffreys' prior."""
        from scipy.special import betaincinv

        a, b = self.recovered + 0.5, self.injected - self.recovered + 0.5
        low, high = (np.asarray(betaincinv(a, b, q), dtype=np.float64) for q in (0.16, 0.84))
        # Where all or none were found the interval ends there, as the share itself must lie in it.
        low = np.where(self.recovered == 0, 0.0, low)
        high = np.where(self.recovered == self.injected, 1.0, high)
        return low, high

    @property
    def expected(self) -> FloatArray:
        """Mean of the same posterior, (k + 1/2) / (n + 1): never exactly 0 or 1."""
        return np.asarray((self.recovered + 0.5) / (self.injected + 1.0), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Bias:
    """Medians and scatter of a measured quantity about the truth, by magnitude and size.

    Attributes
    ----------
    median, scatter : ndarray, shape (n_magnitudes, n_sizes)
        Median, and 1.48 times the median absolute deviation; NaN where fewer than five clumps were measured.
    n : ndarray of int, shape (n_magnitudes, n_sizes)
        Clumps measured.
    """

    median: FloatArray
    scatter: FloatArray
    n: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pull:
    """Distribution of (measured - true) / error.

    Attributes
    ----------
    median : float
        0 where there is no bias.
    width : float
        1.48 times the median absolute deviation: the factor by which errors of the fit would have to be scaled.
    n : int
        Clumps measured.
    """

    median: float
    width: float
    n: int


def middle_and_scatter(values: FloatArray, *, least: int = 1) -> tuple[float, float]:
    """Return the median and 1.48 times the median absolute deviation.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Finite numbers.
    least : int
        Numbers that are needed.

    Returns
    -------
    tuple of float
        NaN where there are fewer.
    """
    if len(values) < least:
        return math.nan, math.nan
    middle = float(np.median(values))
    return middle, float(_MAD_TO_STD * np.median(np.abs(values - middle)))
