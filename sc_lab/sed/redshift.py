"""Uncertain redshifts: a fit at each of some redshifts, combined by evidence and prior probability."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sc_lab.errors import InputError, ScLabError
from sc_lab.sed.results import SedFit, SedFits
from sc_lab.units import FloatArray

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RedshiftFit", "RedshiftGrid", "fit_over_redshift", "holds_grid", "photometry_over_redshift"]

#: Probability in either tail of p(z) that is left out.
_TAIL = 1e-4

#: First nodes are at most this far apart in ln(1 + z), so that no break between two bands hides between them.
_STEP = 0.04

#: First nodes: at least and at most.
_FEWEST, _MOST = 9, 60

#: Nodes whose share of the posterior is below this give no draws.
_NEGLIGIBLE = 1e-4

#: Cautions of redshifts less probable than this are left out.
_WORTH_A_WORD = 0.01

#: Points of the redshift axis on which probabilities are integrated.
_FINE = 4001


@dataclass(frozen=True, eq=False)
class RedshiftGrid:
    """A probability density of redshift.

    Attributes
    ----------
    z : ndarray, shape (n,)
        Redshifts, rising.
    p : ndarray, shape (n,)
        Density at them, linear in between and zero outside; normalised when the grid is made.
    """

    z: FloatArray
    p: FloatArray

    def __init__(self, z: npt.ArrayLike, p: npt.ArrayLike) -> None:
        nodes, density = np.array(z, dtype=np.float64), np.array(p, dtype=np.float64)
        if nodes.ndim != 1 or nodes.shape != density.shape or len(nodes) < 2:
            msg = (
                f"z has the shape {nodes.shape} and p {density.shape}; give two lists of the same length, at least two"
            )
            raise InputError(msg)
        if not (np.isfinite(nodes).all() and (np.diff(nodes) > 0).all() and nodes[0] >= 0):
            msg = "the redshifts of p(z) must be finite, at least 0 and rise from one to the next"
            raise InputError(msg)
        if not (np.isfinite(density).all() and (density >= 0).all()):
            msg = "p(z) must be finite and at least 0 everywhere"
            raise InputError(msg)
        total = float(np.trapezoid(density, nodes))
        if not total > 0:
            msg = "p(z) is zero everywhere; give a density with some probability"
            raise InputError(msg)
        density /= total
        nodes.flags.writeable = density.flags.writeable = False
        object.__setattr__(self, "z", nodes)
        object.__setattr__(self, "p", density)

    @classmethod
    def gaussian(cls, mean: float, sigma: float, *, n: int = 101) -> RedshiftGrid:
        """Return a normal density, cut at zero and at five sigma.

        Parameters
        ----------
        mean, sigma : float
            Mean and standard deviation.
        n : int
            Nodes.

        Returns
        -------
        RedshiftGrid
            The density.

        Raises
        ------
        InputError
            If the numbers make no density above redshift 0.
        """
        if not (math.isfinite(mean) and math.isfinite(sigma) and sigma > 0 and mean + 5 * sigma > 0):
            msg = f"the Gaussian has mean {mean!r} and sigma {sigma!r}; give finite numbers, sigma above 0"
            raise InputError(msg)
        z = np.linspace(max(0.0, mean - 5 * sigma), mean + 5 * sigma, n)
        return cls(z, np.exp(-0.5 * ((z - mean) / sigma) ** 2))

    @classmethod
    def uniform(cls, low: float, high: float) -> RedshiftGrid:
        """Return a flat density.

        Parameters
        ----------
        low, high : float
            Limits.

        Returns
        -------
        RedshiftGrid
            The density.
        """
        return cls([low, high], [1.0, 1.0])

    @classmethod
    def from_interval(cls, best: float, low: float, high: float, *, probability: float = 0.95) -> RedshiftGrid:
        """Return two half Gaussians that meet at the best redshift, as from the limits of a photometric catalogue.

        Parameters
        ----------
        best, low, high : float
            Most probable redshift and the limits that hold ``probability``; BPZ's ``zb``, ``zbmin`` and ``zbmax``
            hold 95 per cent.
        probability : float
            Of the interval.

        Returns
        -------
        RedshiftGrid
            The density.

        Raises
        ------
        InputError
            If the limits do not hold the best redshift.
        """
        if not (0 <= low < best < high and math.isfinite(high) and 0 < probability < 1):
            msg = f"the interval {low!r} to {high!r} must hold the best redshift {best!r}, with a probability within 0 and 1"
            raise InputError(msg)
        from scipy import special

        reach = float(special.ndtri(0.5 + 0.5 * probability))
        below, above = (best - low) / reach, (high - best) / reach
        z = np.unique(
            np.concatenate([np.linspace(max(0.0, best - 5 * below), best, 60), np.linspace(best, best + 5 * above, 60)])
        )
        sigma = np.where(z < best, below, above)
        return cls(z, np.exp(-0.5 * ((z - best) / sigma) ** 2))

    def density(self, z: npt.ArrayLike) -> FloatArray:
        """Return the density.

        Parameters
        ----------
        z : array_like
            Redshifts.

        Returns
        -------
        ndarray
            Same shape; zero outside the grid.
        """
        return np.asarray(np.interp(np.asarray(z, dtype=np.float64), self.z, self.p, left=0.0, right=0.0))

    def quantile(self, q: npt.ArrayLike) -> FloatArray:
        """Return quantiles.

        Parameters
        ----------
        q : array_like
            Probabilities between 0 and 1.

        Returns
        -------
        ndarray
            Same shape.
        """
        fine = np.unique(np.concatenate([self.z, np.linspace(self.z[0], self.z[-1], _FINE)]))
        return _quantile(fine, self.density(fine), np.asarray(q, dtype=np.float64))

    def record(self) -> dict[str, Any]:
        """Return the density as JSON values.

        Returns
        -------
        dict
            ``z`` and ``p``.
        """
        return {"z": self.z.tolist(), "p": self.p.tolist()}


@dataclass(frozen=True, kw_only=True, eq=False)
class RedshiftFit(SedFit):
    """The posterior of one source whose redshift is uncertain; ``samples["z"]`` goes with the other draws.

    Parameters
    ----------
    parts : tuple of SedFit
        The fits at single redshifts.
    shares : ndarray, shape (n_parts,)
        Posterior probability of each.
    redshift_density : RedshiftGrid
        Posterior density of the redshift, smooth between the parts.
    """

    parts: tuple[SedFit, ...] = ()
    shares: FloatArray
    redshift_density: RedshiftGrid

    def _allotted(self, n: int) -> Iterator[tuple[SedFit, int]]:
        """Go through parts and how many of ``n`` draws each gives; every part of a whole draw or more gives some."""
        count = np.floor(np.cumsum(self.shares) / self.shares.sum() * n + 0.5).astype(int)
        for part, number in zip(self.parts, np.diff(count, prepend=0).tolist(), strict=True):
            if number:
                yield part, number

    def spectrum(
        self, q: npt.ArrayLike = (0.16, 0.5, 0.84), *, wavelength: npt.ArrayLike | None = None, n: int = 200
    ) -> tuple[FloatArray, FloatArray]:
        """Return quantiles of the model spectrum at each observed wavelength, over all redshifts.

        Parameters
        ----------
        q : array_like, shape (n_q,)
            Probabilities between 0 and 1.
        wavelength : array_like, shape (n_wave,), optional
            Observed wavelengths [micron]; None takes those of the most probable redshift.
        n : int
            How many draws the band is made of.

        Returns
        -------
        wavelength : ndarray, shape (n_wave,)
            Observed, micron.
        flux : ndarray, shape (n_q, n_wave)
            In nJy.
        """
        from sc_lab.sed.spectra import model_spectra

        rows = []
        wave = None if wavelength is None else np.asarray(wavelength, dtype=np.float64)
        if wave is None:
            most = self.parts[int(np.argmax(self.shares))]
            wave, _ = most.spectrum([0.5], n=1)
        for part, number in self._allotted(n):
            pick = part._pick(number)  # noqa: SLF001 - a fit of the same package
            _, flux = model_spectra(part.model, part.z, part.parameters(pick), wavelength=wave, **part._space())  # noqa: SLF001 - as above
            rows.append(np.asarray(flux))
        return wave, np.asarray(np.quantile(np.concatenate(rows), np.asarray(q, dtype=np.float64), axis=0))

    def sfh(
        self, q: npt.ArrayLike = (0.16, 0.5, 0.84), *, lookback: npt.ArrayLike | None = None, n: int = 500
    ) -> tuple[FloatArray, FloatArray]:
        """Return quantiles of the star-formation rate against look-back time, over all redshifts.

        Parameters
        ----------
        q : array_like, shape (n_q,)
            Probabilities between 0 and 1.
        lookback : array_like, shape (n_bin + 1,), optional
            Edges of the bins of look-back time [Myr]; None takes those of the most probable redshift.
        n : int
            How many draws the band is made of.

        Returns
        -------
        lookback : ndarray, shape (n_bin + 1,)
            Edges, Myr.
        sfr : ndarray, shape (n_q, n_bin)
            Solar masses per year.
        """
        from sc_lab.sed._histories import default_edges, mean_rates

        if lookback is None:
            most = self.parts[int(np.argmax(self.shares))]
            edges = default_edges(most.model, most.parameters(), most.z, most.cosmology)
        else:
            edges = np.asarray(lookback, dtype=np.float64)
        rows = [
            mean_rates(part.model, part.parameters(part._pick(number)), edges, part.z, part.cosmology)  # noqa: SLF001 - a fit of the same package
            for part, number in self._allotted(n)
        ]
        return edges, np.asarray(np.quantile(np.concatenate(rows), np.asarray(q, dtype=np.float64), axis=0))


def fit_over_redshift(
    fit_at: Callable[[float], SedFit],
    grid: RedshiftGrid,
    *,
    resolution: float = 0.05,
    max_nodes: int = 80,
    progress: Callable[[int, int], None] | None = None,
    cancel: Any = None,
) -> RedshiftFit:
    """Fit at some redshifts and combine the fits.

    Parameters
    ----------
    fit_at : callable
        Returns the fit at one redshift, with its evidence.
    grid : RedshiftGrid
        Prior density of the redshift.
    resolution : float
        Nodes are added until no interval between two of them holds more than this share of the posterior.
    max_nodes : int
        Most redshifts that are fitted.
    progress : callable, optional
        Called with the fits done and their number so far expected.
    cancel : object with ``is_set()``, optional
        When set, the run stops.

    Returns
    -------
    RedshiftFit
        Draws over all redshifts.

    Raises
    ------
    InputError
        If a fit has no evidence, by which redshifts are weighed.
    ScLabError
        If it was cancelled.

    Notes
    -----
    The posterior of the redshift is p(z) times the evidence at z, whose logarithm is interpolated between nodes. A
    node's draws get the posterior under the hat function that is one at this node and zero at its neighbours, so that
    each draw keeps the redshift at which it was made. Tails of p(z) below 1e-4 are left out.
    """
    if not 0 < resolution < 1 or max_nodes < 2:
        msg = f"resolution is {resolution!r} and max_nodes {max_nodes!r}; give a share between 0 and 1 and at least 2 nodes"
        raise InputError(msg)
    low, high = (float(edge) for edge in grid.quantile([_TAIL, 1.0 - _TAIL]))
    n_first = int(np.clip(math.ceil(math.log((1 + high) / (1 + low)) / _STEP) + 1, _FEWEST, min(_MOST, max_nodes)))
    n_first = max(2, min(n_first, max_nodes))
    # Some first nodes follow p(z), so that a narrow density in wide wings is met.
    even = np.expm1(np.linspace(math.log1p(low), math.log1p(high), n_first))
    extra = grid.quantile(np.linspace(0.1, 0.9, 5))
    waiting = list(even)
    for z in extra:
        if len(waiting) < max_nodes and np.abs(np.asarray(waiting) - z).min() > 0.2 * (high - low) / n_first:
            waiting.append(float(z))
    fits: dict[float, SedFit] = {}
    fine = np.unique(np.concatenate([np.linspace(low, high, _FINE), grid.z[(grid.z > low) & (grid.z < high)]]))
    while waiting:
        for z in waiting:
            if cancel is not None and cancel.is_set():
                msg = f"the fit was cancelled after {len(fits)} redshifts; nothing of it is kept"
                raise ScLabError(msg)
            fit = fit_at(float(z))
            if not math.isfinite(fit.log_evidence):
                msg = f"the fit at z = {z:.4g} has no evidence, by which redshifts are weighed; use an engine that gives one"
                raise InputError(msg)
            fits[float(z)] = fit
            if progress is not None:
                progress(len(fits), max(len(fits), len(waiting)))
        nodes = np.array(sorted(fits))
        density, log_evidence = _posterior(grid, nodes, np.array([fits[z].log_evidence for z in nodes]), fine)
        steps = 0.5 * np.diff(fine) * (density[1:] + density[:-1])
        inside = np.clip(np.searchsorted(nodes, 0.5 * (fine[1:] + fine[:-1])) - 1, 0, len(nodes) - 2)
        share = np.bincount(inside, steps, minlength=len(nodes) - 1)
        wide = np.flatnonzero((share > resolution) & (np.diff(nodes) > 1e-3 * (1.0 + nodes[:-1])))
        wide = wide[np.argsort(-share[wide])][: max(0, max_nodes - len(fits))]
        waiting = list(0.5 * (nodes[wide] + nodes[wide + 1]))
    return _combined(grid, fits, fine, density, log_evidence)


def photometry_over_redshift(
    fit_photometry: Callable[..., Any],
    flux: Any,
    flux_err: Any,
    bands: Any,
    z: Any,
    *,
    progress: Callable[[int, int], None] | None = None,
    cancel: Any = None,
    **options: Any,
) -> Any:
    """Fit photometry where the redshift, or that of some sources, is a `RedshiftGrid`.

    Parameters
    ----------
    fit_photometry : callable
        The function that fits at one redshift.
    flux, flux_err : array_like or Quantity, shape (n_band,) or (n_source, n_band)
        Data.
    bands : sequence
        Their bands.
    z : RedshiftGrid, or sequence of RedshiftGrid and float
        One for all sources, or one each.
    progress : callable, optional
        Called with sources done (for a single one, redshifts done) and their number.
    cancel : object with ``is_set()``, optional
        When set, the run stops.
    **options : Any
        Passed on.

    Returns
    -------
    RedshiftFit or SedFits
        One fit for one-dimensional data, else one each.

    Raises
    ------
    InputError
        If there are not as many redshifts as sources.
    """
    many = np.ndim(flux) == 2
    n = len(flux) if many else 1
    redshifts = [z] * n if isinstance(z, RedshiftGrid) else list(z)
    if len(redshifts) != n:
        msg = f"there are {len(redshifts)} redshifts for {n} sources; give one for all or one each"
        raise InputError(msg)
    # A galaxy takes a second at each redshift, a cluster tens of milliseconds.
    model = options.get("model")
    history = options.get("sfh") if model is None else model.sfh
    resolution = 0.1 if history == "continuity" else 0.05
    seed = options.pop("rng", None)
    seed = seed if isinstance(seed, int | np.integer) else int(np.random.default_rng(seed).integers(2**62))
    streams = options.pop("streams", None)
    streams = list(range(n)) if streams is None else [int(each) for each in streams]
    priors, shape_err = options.pop("priors", None), options.pop("shape_err", None)

    def one(k: int) -> SedFit:
        data, errors = (flux[k], flux_err[k] if np.ndim(flux_err) == 2 else flux_err) if many else (flux, flux_err)
        mine = {
            **options,
            "priors": priors[k] if isinstance(priors, Sequence) else priors,
            "shape_err": shape_err[k] if np.ndim(shape_err) == 2 else shape_err,
        }
        nodes = 0

        def at(node: float) -> SedFit:
            nonlocal nodes
            # Every source and every redshift has random numbers of its own.
            stream = streams[k] + nodes * 2**40
            nodes += 1
            fit: SedFit = fit_photometry(data, errors, bands, node, rng=seed, streams=[stream], cancel=cancel, **mine)
            return fit

        redshift = redshifts[k]
        if not isinstance(redshift, RedshiftGrid):
            return at(float(redshift))
        inner = None if many else progress
        return fit_over_redshift(at, redshift, resolution=resolution, progress=inner, cancel=cancel)

    if not many:
        return one(0)
    fits = []
    for k in range(n):
        fits.append(one(k))
        if progress is not None:
            progress(k + 1, n)
    return SedFits(fits)


def holds_grid(z: Any) -> bool:
    """Return whether a redshift argument is, or holds, a `RedshiftGrid`.

    Parameters
    ----------
    z : Any
        What was given as redshift.

    Returns
    -------
    bool
        Whether `photometry_over_redshift` is needed.
    """
    if isinstance(z, RedshiftGrid):
        return True
    listed = isinstance(z, Sequence) or (isinstance(z, np.ndarray) and z.dtype == object and z.ndim == 1)
    return listed and any(isinstance(each, RedshiftGrid) for each in z)


# ---- inside ------------------------------------------------------------------------------------


def _quantile(z: FloatArray, density: FloatArray, q: FloatArray) -> FloatArray:
    mass = np.concatenate([[0.0], np.cumsum(0.5 * np.diff(z) * (density[1:] + density[:-1]))])
    return np.asarray(np.interp(q, mass / mass[-1], z))


def _posterior(
    grid: RedshiftGrid, nodes: FloatArray, log_evidence: FloatArray, fine: FloatArray
) -> tuple[FloatArray, float]:
    """Return the posterior density on a fine axis, and the logarithm of its integral before it is normalised."""
    from scipy.interpolate import PchipInterpolator

    anchor = float(log_evidence.max())
    # No overshoot between nodes: a monotone cubic.
    shape = np.exp(PchipInterpolator(nodes, log_evidence)(fine) - anchor) * grid.density(fine)
    total = float(np.trapezoid(shape, fine))
    return shape / total, anchor + math.log(total)


def _combined(
    grid: RedshiftGrid, fits: Mapping[float, SedFit], fine: FloatArray, density: FloatArray, log_evidence: float
) -> RedshiftFit:
    """Return one fit of many."""
    nodes = np.array(sorted(fits))
    cells = 0.5 * (np.diff(fine, prepend=fine[0]) + np.diff(fine, append=fine[-1])) * density
    place = np.interp(fine, nodes, np.arange(len(nodes)))
    left = np.minimum(place.astype(int), len(nodes) - 2)
    share = np.bincount(left, cells * (1.0 - (place - left)), minlength=len(nodes))
    share += np.bincount(left + 1, cells * (place - left), minlength=len(nodes))
    share = share / share.sum()
    kept = np.flatnonzero(share > _NEGLIGIBLE)
    parts, shares = [fits[z] for z in nodes[kept]], share[kept] / share[kept].sum()
    names = [name for name in parts[0].samples if all(name in part.samples for part in parts)]
    # Histories of galaxies have other bins at other redshifts; their steps stay with the parts.
    if len({len(part.samples) for part in parts}) > 1:
        names = [name for name in names if not name.startswith("dsfr")]
    samples = {name: np.concatenate([part.samples[name] for part in parts]) for name in names}
    samples["z"] = np.concatenate([np.full(len(part.weights), part.z) for part in parts])
    weights = np.concatenate([part.weights * each for part, each in zip(parts, shares, strict=True)])
    fluxes = [part.draw_flux for part in parts]
    known = [flux for flux in fluxes if flux is not None]
    best = min(parts, key=lambda part: part.best_chi2)
    middle = float(np.interp(0.5, np.cumsum(shares) - 0.5 * shares, [part.z for part in parts]))
    typical = min(parts, key=lambda part: abs(part.z - middle))
    ess = 1.0 / float(sum(each**2 / max(part.ess, 1.0) for part, each in zip(parts, shares, strict=True)))
    ess = min(ess, float(1.0 / (weights**2).sum()))
    # The same sentence with other numbers is said once, for the most probable redshift that says it.
    said: dict[str, str] = {}
    for part, each in sorted(zip(parts, shares, strict=True), key=lambda pair: -pair[1]):
        for sentence in part.cautions if each > _WORTH_A_WORD else ():
            said.setdefault(re.sub(r"[-+0-9.e]+", "#", sentence), sentence)
    inherited = {name: getattr(typical, name) for name in SedFit.__dataclass_fields__}
    return RedshiftFit(
        **{
            **inherited,
            "samples": samples,
            "weights": weights,
            "log_evidence": log_evidence,
            "ess": ess,
            "best": {**best.best, "z": best.z},
            "best_chi2": best.best_chi2,
            "best_flux": best.best_flux,
            "draw_flux": np.concatenate(known) if len(known) == len(fluxes) else None,
            "cautions": tuple(said.values()),
            "meta": {
                **typical.meta,
                "redshift_prior": grid.record(),
                "redshift_nodes": [
                    {"z": float(z), "log_evidence": float(fits[z].log_evidence), "share": float(each)}
                    for z, each in zip(nodes, share, strict=True)
                ],
            },
        },
        parts=tuple(parts),
        shares=np.asarray(shares),
        redshift_density=RedshiftGrid(fine, density),
    )
