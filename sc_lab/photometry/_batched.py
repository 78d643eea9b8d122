"""The least-squares fit of many boxes at once in NumPy: the readable version of the engine."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sc_lab.photometry._loops import EASE, FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING, RIDGE, TIGHTEN
from sc_lab.photometry.rendering import PsfKernel, render_batch
from sc_lab.units import FloatArray

__all__ = ["Problem", "Solution", "empty_solution", "fit_many"]

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Problem:
    """Boxes to fit, their starts and what is free.

    Parameters
    ----------
    kernel : PsfKernel
        PSF and box.
    data, weight : ndarray
        (n, height * width); the weight is 1/sigma^2, 0 where a pixel is not to be used.
    start : ndarray
        (n, sources, 5): x, y, Cxx, Cyy, Cxy to begin with, or to keep.
    anchor : ndarray
        (n, sources, 2): centre of the allowed square and of the prior.
    centre_mode : ndarray
        (n, sources) of 0 fixed, 1 free within ``max_shift``, 2 the same with a Gaussian prior.
    shape_mode : ndarray
        (n, sources) of 0 fixed, 1 free.
    floor : float
        f in C = f I + L L^T, px^2. A negative one keeps the estimate linear through C = 0.
    max_shift : ndarray
        (n,) px.
    prior_sigma : float
        Width of the centre prior in px.
    max_variance : float
        Largest eigenvalue of C in px^2.
    max_iterations : int
        Cap on the steps.
    tolerance : float
        Predicted or achieved change of chi^2 that ends a fit.
    n_plane : int
        Terms of the local background: 0 none, 1 a constant, 3 a tilted plane.
    extra : ndarray
        (n, terms, height * width) further shapes of the background; no terms by default.
    precision : ndarray
        (n, terms) inverse variances of the priors around zero of their coefficients.
    templated : bool
        Whether the first of them is what the light looks like elsewhere.
    """

    kernel: PsfKernel
    data: FloatArray
    weight: FloatArray
    start: FloatArray
    anchor: FloatArray
    centre_mode: IntArray
    shape_mode: IntArray
    floor: float
    max_shift: FloatArray
    prior_sigma: float
    max_variance: float
    max_iterations: int
    tolerance: float
    n_plane: int
    extra: FloatArray
    precision: FloatArray
    templated: bool = False

    @property
    def n_sources(self) -> int:
        """Number of clumps per box."""
        return int(self.start.shape[1])

    @property
    def n_linear(self) -> int:
        """Number of fluxes and terms of the background."""
        return self.n_sources + 3 + int(self.extra.shape[1])

    def part(self, which: slice | npt.NDArray[np.int64]) -> Problem:
        """Return some of the boxes.

        Parameters
        ----------
        which : slice or ndarray
            Boxes to keep.

        Returns
        -------
        Problem
            With the same options.
        """
        cut = {name: getattr(self, name)[which] for name in ("data", "weight", "start", "anchor", "extra", "precision")}
        cut |= {name: getattr(self, name)[which] for name in ("centre_mode", "shape_mode", "max_shift")}
        return Problem(**{**{name: getattr(self, name) for name in self.__dataclass_fields__}, **cut})


@dataclass(frozen=True, eq=False)
class Solution:
    """Where the fits ended; parameters are fluxes, plane (3), extra terms, then x, y, Cxx, Cyy, Cxy per clump."""

    place: FloatArray  # (n, sources, 5)
    linear: FloatArray  # (n, sources + 3 + extra terms)
    chi2: FloatArray  # (n,), the priors included
    hessian: FloatArray  # (n, parameters, parameters): J^T W J (+ priors) at the end, empty rows where fixed
    design: FloatArray  # (n, parameters, pixels) or (0, parameters, pixels)
    iterations: IntArray
    status: IntArray
    bound: IntArray  # (n, sources): bit 1 centre at its bound, bit 2 size at its bound


def empty_solution(problem: Problem, *, keep_design: bool) -> Solution:
    """Return a solution full of NaN for a problem.

    Parameters
    ----------
    problem : Problem
        Boxes and starts.
    keep_design : bool
        Make room for the design matrices too.

    Returns
    -------
    Solution
        To be filled.
    """
    n, n_sources = problem.start.shape[:2]
    n_parameters = problem.n_linear + 5 * n_sources
    return Solution(
        place=np.full((n, n_sources, 5), np.nan),
        linear=np.full((n, problem.n_linear), np.nan),
        chi2=np.full(n, np.nan),
        hessian=np.zeros((n, n_parameters, n_parameters)),
        design=np.zeros((n if keep_design else 0, n_parameters, problem.data.shape[1])),
        iterations=np.zeros(n, dtype=np.int64),
        status=np.zeros(n, dtype=np.int64),
        bound=np.zeros((n, n_sources), dtype=np.int64),
    )


def _solve(matrix: FloatArray, vector: FloatArray) -> FloatArray:
    """Solve symmetric systems after scaling their diagonals to one, with a tiny ridge."""
    scale = 1.0 / np.sqrt(np.maximum(np.einsum("nii->ni", matrix), 1e-300))
    scaled = matrix * scale[:, :, None] * scale[:, None, :]
    np.einsum("nii->ni", scaled)[...] += RIDGE
    return np.asarray(np.linalg.solve(scaled, (vector * scale)[..., None])[..., 0] * scale)


@dataclass(eq=False)
class _State:
    """Design, Hessian, gradient and chi^2 of a set of boxes at one place."""

    problem: Problem
    place: FloatArray
    columns: FloatArray = field(init=False)
    hessian: FloatArray = field(init=False)
    gradient: FloatArray = field(init=False)
    linear: FloatArray = field(init=False)
    chi2: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        """Render, solve fluxes and plane exactly, then form the normal equations around them."""
        problem, place = self.problem, self.place
        kernel, n_sources = problem.kernel, problem.n_sources
        n, n_pixels = problem.data.shape
        n_fixed, n_linear = n_sources + 3, problem.n_linear
        columns = np.zeros((n, n_linear + 5 * n_sources, n_pixels))
        columns[:, n_fixed:n_linear] = problem.extra
        if problem.n_plane > 0:
            columns[:, n_sources] = 1.0
        if problem.n_plane > 1:
            row, column = np.divmod(np.arange(n_pixels), kernel.width)
            columns[:, n_sources + 1] = column - 0.5 * (kernel.width - 1)
            columns[:, n_sources + 2] = row - 0.5 * (kernel.height - 1)
        for s in range(n_sources):
            level = 3 if problem.shape_mode[:, s].any() else 2 if problem.centre_mode[:, s].any() else 1
            images = render_batch(kernel, place[:, s, 0], place[:, s, 1], place[:, s, 2:], level)
            columns[:, s] = images[:, 0]
            at = n_linear + 5 * s
            if level > 1:
                columns[:, at : at + 2] = images[:, 1:3] * (problem.centre_mode[:, s] > 0)[:, None, None]
            if level > 2:
                columns[:, at + 2 : at + 5] = images[:, 3:] * (problem.shape_mode[:, s] > 0)[:, None, None]
        basis = columns[:, :n_linear]
        weighted = basis * problem.weight[:, None]
        normal = weighted @ basis.swapaxes(1, 2)
        diagonal = np.einsum("nii->ni", normal)
        diagonal[:, n_fixed:] += problem.precision
        diagonal[diagonal <= 0] = 1.0
        linear = _solve(normal, np.einsum("npi,ni->np", weighted, problem.data))
        residual = problem.data - np.einsum("np,npi->ni", linear, basis)
        for s in range(n_sources):
            at = n_linear + 5 * s
            columns[:, at : at + 5] *= linear[:, s, None, None]
        weighted = columns * problem.weight[:, None]
        hessian = weighted @ columns.swapaxes(1, 2)
        hessian[:, :n_linear, :n_linear] = normal
        gradient = np.einsum("npi,ni->np", weighted, residual)
        chi2 = np.einsum("ni,ni,ni->n", problem.weight, residual, residual)
        pulls = linear[:, n_fixed:] * problem.precision
        chi2 += (pulls * linear[:, n_fixed:]).sum(1)
        gradient[:, n_fixed:n_linear] -= pulls
        tightness = (problem.centre_mode == 2) / problem.prior_sigma**2
        for s in range(n_sources):
            for q in range(2):
                p = n_linear + 5 * s + q
                pull = place[:, s, q] - problem.anchor[:, s, q]
                chi2 += pull**2 * tightness[:, s]
                gradient[:, p] -= pull * tightness[:, s]
                hessian[:, p, p] += tightness[:, s]
        self.columns, self.hessian, self.gradient, self.linear, self.chi2 = columns, hessian, gradient, linear, chi2

    def take_over(self, other: _State, which: npt.NDArray[np.bool_]) -> None:
        """Copy the boxes ``which`` from another state."""
        for name in ("place", "columns", "hessian", "gradient", "linear", "chi2"):
            getattr(self, name)[which] = getattr(other, name)[which]

    def keep(self, which: npt.NDArray[np.bool_]) -> None:
        """Drop all boxes but ``which``."""
        self.problem = self.problem.part(np.nonzero(which)[0])
        for name in ("place", "columns", "hessian", "gradient", "linear", "chi2"):
            setattr(self, name, getattr(self, name)[which])


def _factor(shape: FloatArray, floor: float) -> FloatArray:
    """Return (l11, l21, l22) of C = f I + L L^T, pushed inside when C lies below the floor."""
    l11 = np.sqrt(np.maximum(shape[..., 0] - floor, 1e-4))
    l21 = shape[..., 2] / l11
    l22 = np.sqrt(np.maximum(shape[..., 1] - floor - l21**2, 1e-4))
    return np.stack([l11, l21, l22], axis=-1)


def _shape_of(factor: FloatArray, floor: float) -> FloatArray:
    """Return (Cxx, Cyy, Cxy) of a factor."""
    a, b, d = np.moveaxis(factor, -1, 0)
    return np.stack([floor + a**2, floor + b**2 + d**2, a * b], axis=-1)


def _largest_variance(factor: FloatArray) -> FloatArray:
    """Return the larger eigenvalue of L L^T."""
    a, b, d = np.moveaxis(factor, -1, 0)
    return np.asarray(0.5 * (a**2 + b**2 + d**2) + np.hypot(0.5 * (a**2 - b**2 - d**2), a * b))


def _step_system(state: _State, factor: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the Gauss-Newton matrix and gradient with the shapes in coordinates of their factors."""
    problem, n_sources = state.problem, state.problem.n_sources
    n, n_parameters = state.gradient.shape
    to_step = np.zeros((n, n_parameters, n_parameters))
    np.einsum("nii->ni", to_step)[...] = 1.0
    for s in range(n_sources):
        c = problem.n_linear + 5 * s + 2
        a, b, d = factor[:, s].T
        free = problem.shape_mode[:, s] > 0
        block = np.zeros((n, 3, 3))  # rows Cxx, Cyy, Cxy; columns l11, l21, l22
        block[:, 0, 0], block[:, 2, 0] = 2 * a, b
        block[:, 1, 1], block[:, 2, 1] = 2 * b, a
        block[:, 1, 2] = 2 * d
        to_step[free, c : c + 3, c : c + 3] = block[free]
    system = to_step.swapaxes(1, 2) @ state.hessian @ to_step
    target = np.einsum("npq,np->nq", to_step, state.gradient)
    for s in range(n_sources):
        c = problem.n_linear + 5 * s + 2
        # The curvature of the map; without it fits stall where the factor nears zero.
        curve = np.maximum(-2.0 * state.gradient[:, c : c + 2], 0.0) * (problem.shape_mode[:, s] > 0)[:, None]
        system[:, c, c] += curve[:, 0]
        system[:, c + 1, c + 1] += curve[:, 1]
        system[:, c + 2, c + 2] += curve[:, 1]
    frozen = np.einsum("nii->ni", system) <= 0
    shift = state.place[..., :2] - problem.anchor
    limit = problem.max_shift[:, None, None] * (1 - 1e-9)
    for s in range(n_sources):
        for q in range(2):
            p = problem.n_linear + 5 * s + q
            pushed = (shift[:, s, q] >= limit[:, 0, 0]) & (target[:, p] > 0)
            pushed |= (shift[:, s, q] <= -limit[:, 0, 0]) & (target[:, p] < 0)
            frozen[:, p] |= pushed & (problem.centre_mode[:, s] > 0)
    system[frozen] = 0.0
    system.swapaxes(1, 2)[frozen] = 0.0
    np.einsum("nii->ni", system)[frozen] = 1.0
    target[frozen] = 0.0
    return system, target


def fit_many(problem: Problem, *, keep_design: bool) -> Solution:
    """Fit boxes by Levenberg-Marquardt, fluxes and plane solved exactly at every step.

    Parameters
    ----------
    problem : Problem
        Boxes and starts.
    keep_design : bool
        Return the design matrices too.

    Returns
    -------
    Solution
        With status 0 converged, 1 at the iteration cap, 2 too few pixels, 3 stalled.
    """
    out = empty_solution(problem, keep_design=keep_design)
    n_sources, n_linear = problem.n_sources, problem.n_linear
    free_here = 2 * (problem.centre_mode > 0).sum(1) + 3 * (problem.shape_mode > 0).sum(1)
    enough = (problem.weight > 0).sum(1) > n_sources + problem.n_plane + free_here
    out.status[~enough] = 2
    index = np.nonzero(enough)[0]
    if index.size == 0:
        return out
    problem = problem.part(index)
    place = problem.start.copy()
    factor = _factor(place[..., 2:], problem.floor)
    free = problem.shape_mode > 0
    place[..., 2:][free] = _shape_of(factor, problem.floor)[free]
    state = _State(problem, place)
    damping = np.full(index.size, FIRST_DAMPING)
    done = free_here[index] == 0
    status = np.where(done, 0, 1)
    iterations = np.zeros(index.size, dtype=np.int64)
    while True:
        finished = done | (iterations >= problem.max_iterations)
        if finished.any():
            _write(out, state, index, finished, status, iterations, keep_design=keep_design)
            left = ~finished
            if not left.any():
                break
            state.keep(left)
            index, damping, status, iterations = index[left], damping[left], status[left], iterations[left]
            factor = factor[left]
            problem = state.problem
        iterations += 1
        system, target = _step_system(state, factor)
        nonlinear = np.zeros_like(target)
        nonlinear[:, n_linear:] = (np.einsum("nii->ni", system) * (target != 0))[:, n_linear:]
        extra = damping[:, None] * nonlinear
        np.einsum("nii->ni", system)[...] += extra
        step = _solve(system, target)
        predicted = np.einsum("np,np->n", step, target) + np.einsum("np,np->n", extra, step**2)
        move = step[:, n_linear:].reshape(-1, n_sources, 5)
        limit = problem.max_shift[:, None, None]
        centre = np.clip(state.place[..., :2] + move[..., :2], problem.anchor - limit, problem.anchor + limit)
        new_factor = factor + move[..., 2:]
        size = _largest_variance(new_factor)
        too_wide = problem.floor + size > problem.max_variance
        new_factor[too_wide] *= np.sqrt((problem.max_variance - problem.floor) / size[too_wide])[:, None]
        new_place = state.place.copy()
        new_place[..., :2] = np.where((problem.centre_mode > 0)[..., None], centre, new_place[..., :2])
        shape = _shape_of(new_factor, problem.floor)
        new_place[..., 2:] = np.where((problem.shape_mode > 0)[..., None], shape, new_place[..., 2:])
        trial = _State(problem, new_place)
        gain = state.chi2 - trial.chi2
        small = (predicted < problem.tolerance) | (np.abs(gain) < problem.tolerance)
        done = small & (damping < 1.0)
        better = gain >= 0
        state.take_over(trial, better)
        factor[better] = new_factor[better]
        damping = np.where(better, np.maximum(damping * EASE, LEAST_DAMPING), damping * TIGHTEN)
        status[done] = 0
        stalled = ~done & (damping > MOST_DAMPING)
        status[stalled] = 3
        done |= stalled
    return out


def _write(
    out: Solution,
    state: _State,
    index: IntArray,
    which: npt.NDArray[np.bool_],
    status: IntArray,
    iterations: IntArray,
    *,
    keep_design: bool,
) -> None:
    """Store finished fits."""
    problem, at = state.problem, index[which]
    out.place[at], out.chi2[at] = state.place[which], state.chi2[which]
    out.linear[at], out.hessian[at] = state.linear[which], state.hessian[which]
    out.status[at], out.iterations[at] = status[which], iterations[which]
    if keep_design:
        out.design[at] = state.columns[which]
    shift = np.abs(state.place[..., :2] - problem.anchor).max(-1)
    at_edge = (shift >= problem.max_shift[:, None] * (1 - 1e-6)) & (problem.centre_mode > 0)
    xx, yy, xy = np.moveaxis(state.place[..., 2:], -1, 0)
    wide = 0.5 * (xx + yy) + np.hypot(0.5 * (xx - yy), xy) >= problem.max_variance * (1 - 1e-6)
    out.bound[at] = (at_edge + 2 * (wide & (problem.shape_mode > 0)))[which]
