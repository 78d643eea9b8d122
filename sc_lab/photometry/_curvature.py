"""How strongly the light under a clump is curved: shapes beyond a plane, and their amplitude by the evidence of the pixels."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from sc_lab.photometry._batched import Problem, Solution
from sc_lab.units import FloatArray

__all__ = ["curvature_amplitude", "curvature_terms"]

#: Standard deviations of the coefficients of each degree, in units of the amplitude: a smooth light has less of the higher.
_SPREAD = {2: 1.0, 3: 0.5, 4: 0.25}

#: Amplitudes that are tried, in units of the noise per pixel.
_TRIED = 2.0 ** np.arange(-7.0, 10.0)


@lru_cache(maxsize=16)
def curvature_terms(height: int, width: int) -> tuple[FloatArray, FloatArray]:
    """Return products of Legendre polynomials of total degree two to four, and their relative spreads.

    Parameters
    ----------
    height, width : int
        Box in pixels.

    Returns
    -------
    terms : ndarray
        (12, height * width), of order one at the rim of the box.
    spread : ndarray
        (12,) standard deviations for an amplitude of one.
    """
    row, column = np.divmod(np.arange(height * width), width)
    x, y = (2.0 * column / (width - 1) - 1.0, 2.0 * row / (height - 1) - 1.0)
    along = [np.polynomial.legendre.legvander(v, max(_SPREAD)) for v in (x, y)]
    orders = [(degree - j, j) for degree in _SPREAD for j in range(degree + 1)]
    terms = np.array([along[0][:, i] * along[1][:, j] for i, j in orders])
    spread = np.array([_SPREAD[i + j] for i, j in orders])
    for each in (terms, spread):
        each.flags.writeable = False
    return terms, spread


def curvature_amplitude(
    problem: Problem, found: Solution, inverse: FloatArray, rho: FloatArray | None, least: FloatArray
) -> FloatArray:
    """Return the amplitude of the curvature of the background in each box.

    Parameters
    ----------
    problem : Problem
        Boxes that were fitted without curvature.
    found : Solution
        Their fits, with design matrices.
    inverse : ndarray
        (n, P, P) covariance of the fitted parameters, zero where fixed.
    rho : ndarray or None
        Correlation between every two pixels.
    least : ndarray
        (n,) the smallest amplitude.

    Returns
    -------
    ndarray
        (n,) standard deviation of the coefficient of a quadratic term, in the unit of the data.

    Notes
    -----
    With the model linear around the fit, the evidence of an amplitude is a closed form in the eigenvalues of the
    information that the pixels hold on the terms beyond what the other parameters take up. What is returned is the
    mean logarithm over a ladder of factors of two, weighted with the evidence.
    """
    terms, spread = curvature_terms(problem.kernel.height, problem.kernel.width)
    terms = terms * spread[:, None]
    weight, n = problem.weight, len(problem.data)
    # Box by box products throughout: the numbers must not depend on what else is in the list.
    used = np.einsum("npp->np", inverse).any(0)
    design, inverse = found.design[:, used], inverse[:, used][:, :, used]
    model = (np.nan_to_num(found.linear)[:, None] @ found.design[:, : problem.n_linear])[:, 0]
    residual = (problem.data - model) * weight
    # Terms less what the fitted parameters can imitate: the fit itself has no correlation with these.
    free = terms - (terms @ (design * weight[:, None]).swapaxes(1, 2)) @ inverse @ design
    information = (free * weight[:, None]) @ terms.T
    information = 0.5 * (information + information.swapaxes(1, 2))
    pull = (terms @ residual[:, :, None])[:, :, 0]
    if rho is not None:
        root = free * np.sqrt(weight)[:, None]
        real = np.einsum("nqi,nqi->n", root @ rho, root)
        plain = np.einsum("nqi,nqi->n", root, root)
        calm = np.divide(plain, real, out=np.ones(n), where=real > 0)
        information, pull = information * calm[:, None, None], pull * calm[:, None]
    value, vector = np.linalg.eigh(information)
    value = np.maximum(value, 0.0)
    along = np.square(vector.swapaxes(1, 2) @ pull[:, :, None])[:, :, 0]
    noise = np.sqrt((weight > 0).sum(1) / np.maximum(weight.sum(1), 1e-300))
    variance = np.square(noise[:, None] * _TRIED)[:, :, None]
    gain = 1.0 + variance * value[:, None]
    evidence = 0.5 * (variance * along[:, None] / gain - np.log(gain)).sum(-1)
    evidence -= evidence.max(axis=1, keepdims=True)
    share = np.exp(evidence)
    logarithm = (share * np.log(_TRIED)).sum(1) / share.sum(1)
    amplitude = np.maximum(noise * np.exp(logarithm), least)
    return np.asarray(np.where(amplitude > 0, amplitude, 1.0))  # a box without a pixel has no noise
