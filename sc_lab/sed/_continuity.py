"""The posterior of a galaxy's piecewise-constant history: what the samplers read, and the same in plain NumPy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from sc_lab.errors import InputError
from sc_lab.sed import _ensemble_loops as loops
from sc_lab.sed._bin_tables import BinTables
from sc_lab.sed._posterior import mass_tables
from sc_lab.sed._posterior_grid import mass_prior
from sc_lab.sed.priors import Fixed, Gaussian, LogUniform, Prior, Priors, Uniform
from sc_lab.units import FloatArray

__all__ = ["Problem", "StudentT", "log_posterior_reference", "make_problem", "parameters_of"]

#: Step of the A_V grid that a cubic runs through: its error is 1e-5 of the flux at 1500 A.
_AV_STEP = 1.0 / 32.0


@dataclass(frozen=True)
class StudentT:
    """Student's t distribution with two degrees of freedom: the continuity prior of Leja et al. (2019).

    Attributes
    ----------
    scale : float
        Scale of the step between neighbouring bins [dex].
    limit : float
        Largest step either way [dex].
    """

    scale: float = 0.3
    limit: float = 10.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and self.scale > 0 and math.isfinite(self.limit) and self.limit > 0):
            msg = f"the continuity prior has scale {self.scale!r} and limit {self.limit!r}; give two numbers of dex above 0"
            raise InputError(msg)

    @property
    def below(self) -> float:
        """Probability of the whole distribution below the lower limit."""
        t = self.limit / self.scale
        # 1/2 - t / (2 sqrt(2 + t^2)) without the cancellation.
        root = math.sqrt(2.0 + t * t)
        return 1.0 / (root * (root + t))

    def ppf(self, q: FloatArray) -> FloatArray:
        """Return the step below which the probability is ``q``.

        Parameters
        ----------
        q : ndarray
            Probabilities between 0 and 1.

        Returns
        -------
        ndarray
            Steps [dex], same shape.
        """
        low = self.below
        p = low + (1.0 - 2.0 * low) * np.asarray(q, dtype=np.float64)
        return self.scale * (2.0 * p - 1.0) / np.sqrt(2.0 * p * (1.0 - p))

    def record(self) -> dict[str, Any]:
        """Return the prior as JSON values.

        Returns
        -------
        dict
            Kind and numbers.
        """
        return {"kind": "student_t", "df": 2.0, "scale": self.scale, "low": -self.limit, "high": self.limit}


@dataclass(frozen=True, eq=False)
class Problem:
    """Data, tables and priors of one galaxy, ready for the samplers.

    Attributes
    ----------
    tables : BinTables
        Tables of all bands.
    used : ndarray of bool, shape (n_band,)
        Which bands have data.
    data, sigma : ndarray, shape (n_used,)
        Fluxes and their errors, floor included [nJy].
    shape : ndarray, shape (n_used,)
        Fraction of the model common to all bands that one standard normal scales.
    kinds, numbers, slots : ndarray
        How each parameter follows from its coordinate; see `sc_lab.sed._ensemble_loops`.
    names : tuple of str
        Names of the parameters, in their order.
    n_dim : int
        Free coordinates.
    marginal : bool
        Whether the mass is integrated out.
    log_constant : float
        What the likelihood lacks: errors, and the cut of Gaussian priors.
    packed : tuple
        What the compiled loops read.
    mass : Uniform, LogUniform, Gaussian or Fixed
        Prior of log10 of the mass formed.
    """

    tables: BinTables
    used: npt.NDArray[np.bool_]
    data: FloatArray
    sigma: FloatArray
    shape: FloatArray
    kinds: npt.NDArray[np.int64]
    numbers: FloatArray
    slots: npt.NDArray[np.int64]
    names: tuple[str, ...]
    n_dim: int
    marginal: bool
    log_constant: float
    packed: tuple[Any, ...]
    mass: Prior

    def steps(self, values: Mapping[str, FloatArray]) -> FloatArray:
        """Return the steps between bins out of parameters by name.

        Parameters
        ----------
        values : mapping of str to ndarray, shape (n,)
            All parameters.

        Returns
        -------
        ndarray, shape (n, n_sfh - 1)
            The oldest pair first.
        """
        return np.stack([values[name] for name in self.names[: self.tables.n_sfh - 1]], axis=1)


def make_problem(
    flux: FloatArray,
    sigma: FloatArray,
    tables: BinTables,
    priors: Priors,
    *,
    continuity: StudentT | None = None,
    shape_err: FloatArray | None = None,
    marginalise_mass: bool = True,
) -> Problem:
    """Bring data, tables and priors into the form that the samplers read.

    Parameters
    ----------
    flux, sigma : ndarray, shape (n_band,)
        Data and errors, floor included [nJy]; NaN where there are none.
    tables : BinTables
        Tables of these bands and the V band.
    priors : Priors
        Priors of mass, metallicity, A_V and log U.
    continuity : StudentT, optional
        Prior of the steps between bins.
    shape_err : ndarray, shape (n_band,), optional
        Fractional error common to all bands.
    marginalise_mass : bool
        Integrate over the mass, in closed form where its prior is uniform in the logarithm; else sample it.

    Returns
    -------
    Problem
        Ready for the samplers.
    """
    continuity = StudentT() if continuity is None else continuity
    used = np.isfinite(flux) & np.isfinite(sigma)
    data, errors = np.asarray(flux)[used], np.asarray(sigma)[used]
    n_steps = tables.n_sfh - 1
    names = (*(f"dsfr{i + 1}" for i in range(n_steps)), "metallicity", "a_v", "log_u", "log_mass_formed", "shape")
    kinds = np.zeros(len(names), dtype=np.int64)
    numbers = np.zeros((len(names), 4))
    constant = -float(np.log(errors).sum()) - 0.5 * len(data) * math.log(2.0 * math.pi)
    kinds[:n_steps] = loops.STUDENT
    numbers[:n_steps] = (0.0, continuity.scale, continuity.below, 1.0 - continuity.below)
    given: dict[str, Any] = {
        "metallicity": priors.metallicity,
        "a_v": priors.a_v,
        "log_u": priors.log_u if len(tables.nebular) else Fixed(float(priors.log_u.ppf(0.5))),
        "log_mass_formed": priors.log_mass_formed,
    }
    for name, prior in given.items():
        at = names.index(name)
        if isinstance(prior, Uniform):
            kinds[at], numbers[at, :2] = loops.UNIFORM, (prior.low, prior.high)
        elif isinstance(prior, LogUniform):
            kinds[at], numbers[at, :2] = loops.LOG_UNIFORM, (math.log10(prior.low), math.log10(prior.high))
        elif isinstance(prior, Gaussian):
            kinds[at], numbers[at] = loops.GAUSSIAN, (prior.mean, prior.sigma, prior.low, prior.high)
            constant -= prior.log_norm
        else:
            numbers[at, 0] = prior.value
    mass_at = names.index("log_mass_formed")
    marginal = marginalise_mass and kinds[mass_at] != loops.FIXED
    if marginal:
        kinds[mass_at] = loops.FIXED
        if isinstance(priors.log_mass_formed, Gaussian):
            constant += priors.log_mass_formed.log_norm  # which the integral over the mass takes off itself
    shape = np.zeros(len(data))
    if shape_err is not None:
        shape = np.nan_to_num(np.asarray(shape_err, dtype=np.float64)[used])
        if (shape > 0).any():
            kinds[-1], numbers[-1] = loops.GAUSSIAN, (0.0, 1.0, -math.inf, math.inf)
    slots = np.full(len(names), -1, dtype=np.int64)
    free = kinds != loops.FIXED
    slots[free] = np.arange(int(free.sum()))

    low, high = priors.a_v.low, priors.a_v.high
    low, high = max(float(low), float(tables.tables.a_v[0])), min(float(high), float(tables.tables.a_v[-1]))
    n_av = max(4, math.ceil((high - low) / _AV_STEP) + 1) if high > low else 1
    grid = np.linspace(low, high, n_av)
    step = (high - low) / (n_av - 1) if n_av > 1 else 1.0
    weights = tables.tables.a_v_weights(grid)
    keep = np.append(used, False)
    stellar = np.einsum("fa,kzab->zfkb", weights, tables.stellar[..., keep] / errors)
    nebular = np.einsum("fa,kzuab->zufkb", weights, tables.nebular[..., keep] / errors)
    packed = (
        kinds,
        numbers,
        slots,
        np.ascontiguousarray(tables.history.widths),
        np.ascontiguousarray(tables.tables.metallicity),
        np.ascontiguousarray(tables.tables.log_u),
        low,
        step,
        np.ascontiguousarray(stellar),
        np.ascontiguousarray(nebular),
        data / errors,
        shape,
        bool(marginal),
        *mass_prior(priors.log_mass_formed),
        *mass_tables(),
    )
    return Problem(
        tables=tables,
        used=used,
        data=data,
        sigma=errors,
        shape=shape,
        kinds=kinds,
        numbers=numbers,
        slots=slots,
        names=names,
        n_dim=int(free.sum()),
        marginal=bool(marginal),
        log_constant=constant,
        packed=packed,
        mass=priors.log_mass_formed,
    )


def parameters_of(points: FloatArray, problem: Problem) -> dict[str, FloatArray]:
    """Return parameters from coordinates that are standard normal under the prior: plain NumPy, the reference.

    Parameters
    ----------
    points : ndarray, shape (n, n_dim)
        Coordinates.
    problem : Problem
        What they mean.

    Returns
    -------
    dict of str to ndarray, shape (n,)
        NaN outside the limits of a Gaussian prior.
    """
    out = {}
    for name, kind, p, slot in zip(problem.names, problem.kinds, problem.numbers, problem.slots, strict=True):
        if kind == loops.FIXED:
            out[name] = np.full(len(points), p[0])
            continue
        x = points[:, slot]
        below, above = special.ndtr(x), special.ndtr(-x)
        if kind == loops.UNIFORM:
            out[name] = p[0] + (p[1] - p[0]) * below
        elif kind == loops.LOG_UNIFORM:
            out[name] = 10.0 ** (p[0] + (p[1] - p[0]) * below)
        elif kind == loops.GAUSSIAN:
            value = p[0] + p[1] * x
            out[name] = np.where((value >= p[2]) & (value <= p[3]), value, np.nan)
        else:
            q, rest = p[2] * above + p[3] * below, (1.0 - p[2]) * above + (1.0 - p[3]) * below
            with np.errstate(divide="ignore", invalid="ignore"):
                out[name] = p[0] + p[1] * (q - rest) / np.sqrt(2.0 * q * rest)
    return out


def log_posterior_reference(points: FloatArray, problem: Problem) -> FloatArray:
    """Return the log posterior as `sc_lab.sed._ensemble.log_posteriors` does, in plain NumPy from the tables' own nodes.

    Parameters
    ----------
    points : ndarray, shape (n, n_dim)
        Coordinates.
    problem : Problem
        Data, tables and priors.

    Returns
    -------
    ndarray, shape (n,)
        Without the constant of the errors.
    """
    points = np.asarray(points, dtype=np.float64)
    values = parameters_of(points, problem)
    good = np.isfinite(np.stack(list(values.values()))).all(axis=0)
    safe = {name: np.where(good, value, 1.0) for name, value in values.items()}
    model = _scaled_model(safe, problem)
    aa, ab = (model**2).sum(axis=1), (model * (problem.data / problem.sigma)).sum(axis=1)
    bb = float(((problem.data / problem.sigma) ** 2).sum())
    if problem.marginal:
        log_like = -0.5 * bb + _mass_integral(aa, ab, problem.mass)
    else:
        mass = 10.0 ** safe["log_mass_formed"]
        log_like = -0.5 * (bb - 2.0 * mass * ab + mass**2 * aa)
    return np.where(good, log_like - 0.5 * (points**2).sum(axis=1), -np.inf)


# ---- inside ------------------------------------------------------------------------------------


def _scaled_model(values: Mapping[str, FloatArray], problem: Problem) -> FloatArray:
    """Return fluxes of one solar mass in the used bands, in units of the errors, shape (n, n_used)."""
    shares = problem.tables.history.fractions(problem.steps(values))
    flux = problem.tables.fluxes(shares, values["metallicity"], values["log_u"], values["a_v"])
    keep = np.append(problem.used, False)
    return np.asarray(flux[:, keep] / problem.sigma * (1.0 + values["shape"][:, None] * problem.shape))


def _mass_integral(a: FloatArray, b: FloatArray, prior: Prior) -> FloatArray:
    """Return the logarithm of the prior average of exp(M b - M^2 a / 2), by a fine trapezoidal rule in log10 M."""
    low, high = max(float(prior.low), float(prior.ppf(1e-15))), min(float(prior.high), float(prior.ppf(1.0 - 1e-15)))
    # Close to the limits, where a steep likelihood ends, and evenly between them.
    steps = np.geomspace(1e-9, high - low, 400)
    fixed = np.concatenate([np.linspace(low, high, 600), low + steps, high - steps])
    # The peak may be narrow.
    with np.errstate(divide="ignore", invalid="ignore"):
        peak, width = np.log10(b / a), np.minimum(np.sqrt(a) / b / math.log(10), 1.0)
    there = b > 0
    near = np.where(there, peak, low)[:, None] + 12.0 * np.where(there, width, 0.0)[:, None] * np.linspace(-1, 1, 500)
    x = np.sort(np.clip(np.concatenate([np.tile(fixed, (len(a), 1)), near], axis=1), low, high), axis=1)
    mass = 10.0**x
    value = b[:, None] * mass - 0.5 * a[:, None] * mass**2 + prior.log_density(x)
    top = value.max(axis=1)
    return np.asarray(top + np.log(np.trapezoid(np.exp(value - top[:, None]), x, axis=1)))
