"""Exact posteriors on grids, an emcee adapter, and the summaries that both share."""

from __future__ import annotations

from sc_lab.inference.grid import GridPosterior, Marginals, find_boxes, integrate
from sc_lab.inference.mcmc import Chain, run_emcee
from sc_lab.inference.summary import kde_mode, weighted_quantile

__all__ = [
    "Chain",
    "GridPosterior",
    "Marginals",
    "find_boxes",
    "integrate",
    "kde_mode",
    "run_emcee",
    "weighted_quantile",
]
