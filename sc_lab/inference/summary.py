"""Summaries of samples: weighted quantiles and the mode as the paper takes it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sc_lab.errors import InputError
from sc_lab.units import FloatArray

__all__ = ["kde_mode", "weighted_quantile"]


def weighted_quantile(values: npt.ArrayLike, q: npt.ArrayLike, *, weights: npt.ArrayLike | None = None) -> FloatArray:
    """Return quantiles of weighted values.

    Parameters
    ----------
    values : array_like
        Shape (n,), finite.
    q : array_like
        Probabilities between 0 and 1.
    weights : array_like, optional
        Shape (n,), not negative; None means equal weights and gives `numpy.quantile`.

    Returns
    -------
    ndarray
        Shape of ``q``.

    Raises
    ------
    InputError
        If there are no values, a value is not finite, or the weights do not fit.

    Notes
    -----
    Each value stands at the middle of its weight; quantiles are interpolated between, and the
    outermost values hold beyond.

    Examples
    --------
    >>> float(weighted_quantile([1.0, 2.0, 3.0], 0.5, weights=[1.0, 1.0, 0.0]))
    1.5
    """
    x = np.asarray(values, dtype=np.float64)
    p = np.asarray(q, dtype=np.float64)
    if x.ndim != 1 or not len(x) or not np.isfinite(x).all():
        lost = int((~np.isfinite(x)).sum())
        msg = f"values has the shape {x.shape} and {lost} entries that are not finite; give one list of finite numbers"
        raise InputError(msg)
    if not np.all((p >= 0) & (p <= 1)):
        msg = f"q is {q!r}; give probabilities between 0 and 1, for instance [0.16, 0.5, 0.84]"
        raise InputError(msg)
    if weights is None:
        return np.asarray(np.quantile(x, p), dtype=np.float64)
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != x.shape or not np.isfinite(w).all() or (w < 0).any() or not w.sum() > 0:
        msg = (
            f"weights has the shape {w.shape} for {len(x)} values, or is negative or all zero; give one weight a value"
        )
        raise InputError(msg)
    used = w > 0
    order = np.argsort(x[used], kind="stable")
    x, w = x[used][order], w[used][order]
    middle = (np.cumsum(w) - w / 2) / w.sum()
    return np.asarray(np.interp(p, middle, x), dtype=np.float64)


def kde_mode(samples: npt.ArrayLike, *, points: int = 256) -> float:
    """Return the mode of samples by a Gaussian kernel estimate, as Claeyssens et al. 2026 do.

    Parameters
    ----------
    samples : array_like
        Shape (n,), at least two different values.
    points : int
        Points between the smallest and largest sample at which the estimate is taken, before the
        parabola through the best three.

    Returns
    -------
    float
        Place of the maximum.

    Raises
    ------
    InputError
        If there are fewer than two different finite samples.
    """
    from scipy.stats import gaussian_kde

    x = np.asarray(samples, dtype=np.float64)
    if x.ndim != 1 or len(x) < 2 or not np.isfinite(x).all() or np.ptp(x) == 0:
        msg = f"samples has the shape {x.shape}; a mode needs at least two different finite samples in one list"
        raise InputError(msg)
    low, high = np.quantile(x, [0.01, 0.99]) if len(x) > 200 else (x.min(), x.max())
    if low == high:
        low, high = x.min(), x.max()
    grid = np.linspace(low, high, points)
    density = gaussian_kde(x)(grid)
    best = int(np.argmax(density))
    if 0 < best < points - 1:
        before, at, after = density[best - 1 : best + 2]
        bend = before - 2 * at + after
        shift = 0.5 * (before - after) / bend if bend < 0 else 0.0
        return float(grid[best] + shift * (grid[1] - grid[0]))
    return float(grid[best])
