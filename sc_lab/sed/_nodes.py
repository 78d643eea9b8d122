"""Interpolation in tables: nodes of A_V, and the weights of nodes."""

from __future__ import annotations

import math

import numpy as np

from sc_lab.units import FloatArray

__all__ = ["a_v_nodes", "barycentric_weights", "linear_weights"]


def a_v_nodes(low: float, high: float, *, steepest: float = 4.5, n_node: int | None = None) -> FloatArray:
    """Return the nodes of A_V.

    Parameters
    ----------
    low, high : float
        Range [mag]; a single node if they are the same.
    steepest : float, optional
        Largest attenuation that matters, in units of A_V.
    n_node : int, optional
        Number of nodes; None takes as many as give 1e-13.

    Returns
    -------
    ndarray
        Chebyshev points of the second kind, rising.

    Notes
    -----
    Fluxes are sums of exp(-c A_V). On a range of width 2 a / c the coefficients of such a function fall as the
    modified Bessel functions I_n(a), about (a / 2)^n / n!.
    """
    if high == low:
        return np.array([float(low)])
    if n_node is None:
        half = 0.5 * (high - low) * 0.4 * math.log(10.0) * steepest
        n_node = 5
        while n_node * math.log(half / 2.0) - math.lgamma(n_node + 1) > math.log(1e-14):
            n_node += 1
    points = np.cos(np.pi * np.arange(n_node) / (n_node - 1))[::-1]
    nodes = low + 0.5 * (high - low) * (1.0 + points)
    nodes[0], nodes[-1] = low, high
    return nodes


def linear_weights(nodes: FloatArray, at: FloatArray) -> FloatArray:
    """Return the weights of straight lines between nodes, constant outside.

    Parameters
    ----------
    nodes : ndarray, shape (n_node,)
        Rising nodes.
    at : ndarray, shape (n,)
        Where to interpolate.

    Returns
    -------
    ndarray, shape (n, n_node)
        Rows that add to one.
    """
    at = np.atleast_1d(np.asarray(at, dtype=np.float64))
    weights = np.zeros((at.size, nodes.size))
    if nodes.size == 0:
        return weights
    if nodes.size == 1:
        return weights + 1.0
    high = np.clip(np.searchsorted(nodes, at, side="left"), 1, nodes.size - 1)
    part = np.clip((at - nodes[high - 1]) / (nodes[high] - nodes[high - 1]), 0.0, 1.0)
    rows = np.arange(at.size)
    weights[rows, high], weights[rows, high - 1] = part, 1.0 - part
    return weights


def barycentric_weights(nodes: FloatArray, at: FloatArray) -> FloatArray:
    """Return the weights of the polynomial through Chebyshev points.

    Parameters
    ----------
    nodes : ndarray, shape (n_node,)
        Chebyshev points of the second kind, as `a_v_nodes` gives them.
    at : ndarray, shape (n,)
        Where to interpolate.

    Returns
    -------
    ndarray, shape (n, n_node)
        Rows that add to one.
    """
    at = np.atleast_1d(np.asarray(at, dtype=np.float64))
    if nodes.size == 1:
        return np.ones((at.size, 1))
    sign = np.where(np.arange(nodes.size) % 2, -1.0, 1.0)
    sign[[0, -1]] *= 0.5
    gap = at[:, None] - nodes
    hit = gap == 0.0
    weights = sign / np.where(hit, 1.0, gap)
    weights /= weights.sum(axis=1, keepdims=True)
    on = hit.any(axis=1)
    weights[on] = hit[on]
    return weights
