"""The ages for which stellar populations are tabulated: bagpipes' bins, or the library's own ages."""

from __future__ import annotations

import itertools
import math
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sc_lab.cosmology import default_cosmology
from sc_lab.errors import InputError
from sc_lab.sed.libraries import Library
from sc_lab.sed.model import SedModel
from sc_lab.units import FloatArray

__all__ = ["AgeBins", "age_bins", "hubble_time_gyr", "midpoint_edges"]

#: Step of bagpipes' bins [dex], from 1 Myr on.
_COMPAT_BIN_STEP = 0.1
#: Ages at which the fine mode has spectra are no closer than this [dex]; stars below 1 Myr hardly change.
_FINE_STEP, _FINE_STEP_NEWBORN = 0.0195, 0.3


@dataclass(frozen=True, eq=False)
class AgeBins:
    """The ages for which stellar populations are tabulated.

    In compat they are bagpipes' bins, with the mean spectrum of each. In fine they are nodes: spectra change along a
    line from node to node, and the weight of a node is what a history has of its half of the two lines.

    Attributes
    ----------
    edges : ndarray, shape (n_bin + 1,)
        Edges of the bins [yr]; in fine the node before each, which is where its weight begins.
    ages : ndarray, shape (n_bin,)
        Age of each [yr]; in fine the age at which birth clouds disperse is there twice, inside them and outside.
    stellar : ndarray, shape (n_bin, n_age)
        Spectrum of each as a mean of the library's spectra.
    nebular : ndarray, shape (n_young, n_na)
        The same for the nebular grids, in the bins that have birth clouds.
    young : ndarray, shape (n_bin,)
        Fraction of the stars of each bin that are in birth clouds.
    live : ndarray, shape (n_bin, n_z)
        Living fraction by metallicity.
    """

    edges: FloatArray
    ages: FloatArray
    stellar: FloatArray
    nebular: FloatArray
    young: FloatArray
    live: FloatArray

    @property
    def n_bin(self) -> int:
        """Number of bins."""
        return self.ages.size

    @property
    def n_young(self) -> int:
        """Number of bins that have birth clouds; they come first."""
        return int(self.nebular.shape[0])

    def upto(self, age: float) -> int:
        """Return how many bins hold stars that are not older than ``age``.

        Parameters
        ----------
        age : float
            Age [yr].

        Returns
        -------
        int
            Number of bins.
        """
        return max(int(np.searchsorted(self.edges[:-1], age, side="left")), self.n_young)


_LOCK = threading.Lock()
_BINS: OrderedDict[tuple[str, str, float], AgeBins] = OrderedDict()


def age_bins(model: SedModel) -> AgeBins:
    """Return all bins of age of a model, from now to the oldest stars.

    Parameters
    ----------
    model : SedModel
        Its mode, library and birth clouds decide.

    Returns
    -------
    AgeBins
        The bins. ``compat``: 0.1 dex as in bagpipes, spectra averaged as there, which takes each to stand for the
        ages nearest to it. ``fine``: the library's own ages, but not closer than 0.02 dex.
    """
    library = model.loaded_library
    key = (model.mode, library.digest, model.t_birth_cloud)
    with _LOCK:
        made = _BINS.get(key)
        if made is None:
            made = _compat_bins(library, model.t_birth_cloud) if model.mode == "compat" else _fine_bins(library, model)
            _BINS[key] = made
            while len(_BINS) > 16:
                _BINS.popitem(last=False)
    return made


def midpoint_edges(points: FloatArray) -> FloatArray:
    """Return edges half-way between points, the outer ones mirrored.

    Parameters
    ----------
    points : ndarray, shape (n,)
        Rising points.

    Returns
    -------
    ndarray, shape (n + 1,)
        Edges.
    """
    middle = (points[1:] + points[:-1]) / 2
    first, last = points[0] - (points[1] - points[0]) / 2, points[-1] + (points[-1] - points[-2]) / 2
    return np.concatenate([[first], middle, [last]])


@lru_cache(maxsize=1)
def hubble_time_gyr() -> float:
    """Return the age of the Universe today in bagpipes' cosmology.

    Returns
    -------
    float
        Age [Gyr].
    """
    return float(default_cosmology().age(0.0).value)


def _compat_bins(library: Library, t_birth_cloud: float) -> AgeBins:
    """Return bagpipes' bins: 0.1 dex from 1 Myr, the first open to zero, the last ending today."""
    logs = np.arange(6.0, np.log10(hubble_time_gyr()) + 9.0, _COMPAT_BIN_STEP)
    edges = 10 ** midpoint_edges(logs)
    edges[0], edges[-1] = 0.0, 10**9 * hubble_time_gyr()
    ages = 10**logs
    split = t_birth_cloud * 1e-3 * 10**9
    index = int((edges < split).sum())
    young = np.zeros(ages.size)
    young[:index] = 1.0
    young[index - 1] = 1.0 - (edges[index] - split) / (edges[index] - edges[index - 1])
    nebular = np.zeros((0, library.nebular_age.size))
    if library.has_nebular:
        if library.nebular_age.size < index or not np.allclose(library.nebular_age[:index], ages[:index], rtol=1e-4):
            msg = (
                f"the nebular grid of {library.title} does not have the ages of bagpipes' grid up to "
                f"{ages[index - 1]:.3g} yr; shorten t_birth_cloud or use mode='fine'"
            )
            raise InputError(msg)
        nebular = np.eye(index, library.nebular_age.size)
    else:
        nebular = np.zeros((index, 0))
    live = np.stack([np.interp(ages, library.age, column) for column in library.live_fraction.T], axis=1)
    return AgeBins(edges, ages, _compat_means(library.age, edges), nebular, young, live)


def _compat_means(age: FloatArray, edges: FloatArray) -> FloatArray:
    """Return how bagpipes averages spectra of the ages ``age`` over bins.

    Each spectrum stands for the ages nearer to it than to others; a bin inside one such span takes that spectrum.
    """
    spans = midpoint_edges(age)
    widths = np.diff(spans)
    widths[-1] = age[-1] - age[-2]
    widths[0] += spans[0]
    spans[0] = 0.0
    if spans[-1] < edges[-1]:
        widths[-1] += edges[-1] - spans[-1]
        spans[-1] = edges[-1]
    means = np.zeros((edges.size - 1, age.size))
    for j, (low, high) in enumerate(itertools.pairwise(edges)):
        start = int(np.searchsorted(spans[1:], low, side="right"))
        stop = int(np.searchsorted(spans[1:], high, side="left"))
        if start == stop:
            means[j, start] = 1.0
            continue
        part = widths[start : stop + 1].copy()
        part[0] *= (spans[start + 1] - low) / (spans[start + 1] - spans[start])
        part[-1] *= (high - spans[stop]) / (spans[stop + 1] - spans[stop])
        means[j, start : stop + 1] = part / part.sum()
    return means


def _fine_bins(library: Library, model: SedModel) -> AgeBins:
    """Return the nodes of the fine mode: ages of the library, and twice the age at which birth clouds disperse."""
    split = model.t_birth_cloud * 1e6
    nodes = [0.0]
    for age in library.age[library.age > 0]:
        step = _FINE_STEP if age >= 1e6 else _FINE_STEP_NEWBORN
        apart = nodes[-1] == 0.0 or math.log10(age / nodes[-1]) >= step
        if apart and abs(math.log10(age / split)) > 0.5 * _FINE_STEP:
            nodes.append(float(age))
    index = int(np.searchsorted(nodes, split)) + 1
    ages = np.array([*nodes[: index - 1], split, split, *nodes[index - 1 :]])
    young = (np.arange(ages.size) < index).astype(np.float64)
    stellar = _line_shares(library.age, ages)
    nebular = np.zeros((index, 0))
    if library.has_nebular:
        nebular = _line_shares(library.nebular_age, ages[:index])
    edges = np.concatenate([[0.0], ages])
    return AgeBins(edges, ages, stellar, nebular, young, stellar @ library.live_fraction)


def _line_shares(points: FloatArray, at: FloatArray) -> FloatArray:
    """Return the weights (n_at, n_point) of straight lines between points, flat outside."""
    inside = np.clip(at, points[0], points[-1])
    right = np.clip(np.searchsorted(points, inside, side="left"), 1, points.size - 1)
    part = (inside - points[right - 1]) / (points[right] - points[right - 1])
    shares = np.zeros((at.size, points.size))
    rows = np.arange(at.size)
    shares[rows, right - 1], shares[rows, right] = 1.0 - part, part
    return shares
