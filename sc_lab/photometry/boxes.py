"""Fits of stacks of boxes given as arrays: options, missing pixels, errors, correlated noise and the test for a point."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sc_lab.errors import InputError
from sc_lab.photometry._batched import Problem, Solution
from sc_lab.photometry._curvature import curvature_amplitude, curvature_terms
from sc_lab.photometry._engine import choose_engine, solve
from sc_lab.photometry.rendering import PsfKernel, make_kernel, render_batch
from sc_lab.units import FloatArray

__all__ = ["FREE_FLOOR", "PAPER_FLOOR", "BoxFits", "correlation_matrix", "fit_boxes"]

IntArray = npt.NDArray[np.int64]
Centre = Literal["free", "prior", "fixed"]

#: Lowest eigenvalue of C in px^2. Below zero the estimate stays linear through C = 0, so points are not biased.
FREE_FLOOR = -0.3
PAPER_FLOOR = 0.0

#: Width of the prior around zero of a template's amplitude: the light of a galaxy differs by less between bands.
TEMPLATE_SIGMA = 3.0

#: How much the light under a clump may differ from the template, in units of the template's own structure there, and
#: the standard deviation of what counts as under a clump [px]: about the core of the PSF.
UNLIKE, _CORE = 1.0, 1.3

#: Smallest amplitude of the curvature, in units of the background itself.
LEAST_CURVATURE = 0.1

_CENTRES = {"fixed": 0, "free": 1, "prior": 2}

#: Boxes per turn, so that hundreds of thousands of them need no more memory than a few thousand; an eighth of them where
#: the design matrices of all are kept.
_TURN = 4096


@dataclass(frozen=True, eq=False)
class BoxFits:
    """Results of `fit_boxes`: n boxes, S clumps in each, P = 6 S + 3 parameters.

    Parameters
    ----------
    flux, flux_err : ndarray
        (n, S) total flux and error, in the unit of the data summed over pixels.
    x, y, x_err, y_err : ndarray
        (n, S) centres in pixels of the box.
    shape : ndarray
        (n, S, 3) Cxx, Cyy, Cxy in px^2 of the PSF-free Gaussian; eigenvalues may be negative.
    shape_covariance : ndarray
        (n, S, 3, 3) px^4; zero for fixed shapes.
    plane : ndarray
        (n, 3) local background at the middle of the box and slopes along x and y.
    snr : ndarray
        (n, S) matched-filter signal to noise.
    chi2, dof : ndarray
        (n,) sum of weighted squares (centre priors included) and pixels less free parameters.
    dchi2_point : ndarray
        (n, S) chi^2 gained over a point source, everything else refitted; NaN unless asked for.
    flux_shape_err : ndarray
        (n, S) part of ``flux_err`` that the error of a fixed shape brings; zero unless asked for.
    covariance : ndarray
        (n, P, P): fluxes, plane, then x, y, Cxx, Cyy, Cxy clump by clump; zero where fixed.
    status, iterations : ndarray
        (n,) `FitStatus` and number of steps.
    at_bound : ndarray
        (n, S) bit 1: centre at its bound; bit 2: size at its bound.
    n_bad : ndarray
        (n,) pixels that were left out.
    """

    flux: FloatArray
    flux_err: FloatArray
    x: FloatArray
    y: FloatArray
    x_err: FloatArray
    y_err: FloatArray
    shape: FloatArray
    shape_covariance: FloatArray
    plane: FloatArray
    snr: FloatArray
    chi2: FloatArray
    dof: IntArray
    dchi2_point: FloatArray
    flux_shape_err: FloatArray
    covariance: FloatArray
    status: IntArray
    iterations: IntArray
    at_bound: IntArray
    n_bad: IntArray

    def __len__(self) -> int:
        """Return the number of boxes."""
        return int(self.chi2.size)


def _per_source(value: Any, n: int, n_sources: int, name: str) -> FloatArray:
    """Return a value per box and clump."""
    array = np.asarray(value, dtype=np.float64)
    if array.ndim == 1 and array.size == n and n_sources == 1:
        array = array[:, None]
    try:
        return np.array(np.broadcast_to(array, (n, n_sources)))
    except ValueError:
        msg = f"{name} has the shape {array.shape}; give ({n},) or ({n}, clumps per box)"
        raise InputError(msg) from None


def _modes(value: Any, codes: dict[Any, int], n: int, n_sources: int, name: str) -> IntArray:
    """Return option codes per box and clump."""
    array = np.asarray(value)
    if array.dtype.kind in "UOSb":
        try:
            array = np.vectorize(lambda each: codes[each.item() if hasattr(each, "item") else each], otypes=[np.int64])(
                array
            )
        except (KeyError, TypeError):
            msg = f"{name}={value!r} is not known; choose from {', '.join(map(repr, codes))}"
            raise InputError(msg) from None
    return np.array(np.broadcast_to(array, (n, n_sources)), dtype=np.int64)


def correlation_matrix(correlation: Any, height: int, width: int) -> FloatArray:
    """Return the correlation between every two pixels of a box.

    Parameters
    ----------
    correlation : array_like
        2D autocorrelation of the noise, odd sides, 1 in the middle.
    height, width : int
        Box in pixels.

    Returns
    -------
    ndarray
        (height * width, height * width).

    Raises
    ------
    InputError
        If the autocorrelation has even sides.

    Notes
    -----
    What is left at the largest measured lags is structure of the sky wider than a box; the fitted plane
    takes that up, so it is taken off. Measured noise in the rest can ask for negative variances; the
    negative part of its power spectrum is set to zero.
    """
    rho = np.asarray(correlation, dtype=np.float64)
    if rho.ndim != 2 or rho.shape[0] % 2 == 0 or rho.shape[1] % 2 == 0:
        msg = f"the noise correlation has the shape {rho.shape}; give a 2D array with odd sides and 1 in the middle"
        raise InputError(msg)
    rho = _possible(rho, max(height, width))
    row, column = np.divmod(np.arange(height * width), width)
    return np.asarray(rho[row[:, None] - row, column[:, None] - column])


def _possible(rho: FloatArray, size: int) -> FloatArray:
    """Return the nearest autocorrelation that noise can have, indexed by the lag, negative ones from the end."""
    edge = np.concatenate([rho[0], rho[-1], rho[:, 0], rho[:, -1]])
    plateau = min(max(float(edge.mean()), 0.0), 0.95) if min(rho.shape) >= 7 else 0.0
    rho = (rho - plateau) / (1.0 - plateau)
    full = np.zeros((2 * size + rho.shape[0], 2 * size + rho.shape[1]))
    full[: rho.shape[0], : rho.shape[1]] = rho
    full = np.roll(full, (-(rho.shape[0] // 2), -(rho.shape[1] // 2)), axis=(0, 1))
    power = np.maximum(np.fft.fft2(full).real, 0.0)
    full = np.fft.ifft2(power).real
    return np.asarray(full / full[0, 0])


def fit_boxes(
    data: Any,
    sigma: Any,
    psf: Any,
    *,
    x: Any = None,
    y: Any = None,
    shape: Any = None,
    fit_shape: Any = True,
    centre: Any = "free",
    anchor: Any = None,
    max_shift: Any = 2.0,
    prior_sigma: float = 0.15,
    floor: float = FREE_FLOOR,
    max_variance: float = 25.0,
    plane: bool = True,
    curved: bool = False,
    template: Any = None,
    noise_correlation: Any = None,
    shape_covariance: Any = None,
    test_point: bool = False,
    pixel_scale: float | None = None,
    max_iterations: int = 40,
    tolerance: float = 1e-3,
    engine: str = "auto",
) -> BoxFits:
    """Fit Gaussian clumps through the PSF in a stack of boxes.

    Parameters
    ----------
    data : array_like
        (n, height, width) or (height, width); any unit per pixel. NaN pixels are left out.
    sigma : array_like
        Error per pixel, broadcast against ``data``. A pixel whose error is zero, negative or
        not finite is left out.
    psf : Psf, ndarray or PsfKernel
        See `make_kernel`. Fluxes are total: the stamp sums to its energy fraction.
    x, y : array_like, optional
        (n,) or (n, S) starting centres in pixels of the box; None is the middle.
    shape : array_like, optional
        (3,), (n, 3) or (n, S, 3): start, or fixed value, of Cxx, Cyy, Cxy in px^2. None starts
        at 0.5 px^2, round, and fixes a point.
    fit_shape : bool or array_like of bool, optional
        Per box and clump: fit C, or keep ``shape``.
    centre : str or array_like of str, optional
        Per box and clump: "free" within ``max_shift``, "prior" (Gaussian of ``prior_sigma``
        around the anchor, and bounded), "fixed".
    anchor : array_like, optional
        (n, S, 2) centre (x, y) of bound and prior; None is the start.
    max_shift : array_like, optional
        px, scalar or (n,).
    prior_sigma : float, optional
        px.
    floor : float, optional
        Lowest eigenvalue of C in px^2: C = floor I + L L^T.
    max_variance : float, optional
        Highest eigenvalue of C in px^2.
    plane : bool, optional
        Fit a tilted plane under the clumps.
    curved : bool, optional
        Fit curvature as well: terms of degree two to four, whose prior is as wide as the pixels say
        (`sc_lab.photometry._curvature`). Where there is none, this changes next to nothing.
    template : array_like, optional
        (n, height, width) what the light under the clumps looks like elsewhere, such as in another band: its
        amplitude is fitted, with a prior of `TEMPLATE_SIGMA`.
    noise_correlation : array_like, optional
        2D autocorrelation of the noise (odd sides, 1 in the middle): errors then allow for it.
    shape_covariance : array_like, optional
        (n, S, 3, 3) or (n, 3, 3) covariance of a fixed shape; its share is added to the flux error.
    test_point : bool, optional
        Also fit each clump as a point and return the chi^2 it costs.
    pixel_scale : float, optional
        Arcsec per pixel, for a PSF with its own pixel scale.
    max_iterations : int, optional
        Cap on the steps of a fit.
    tolerance : float, optional
        Predicted or achieved change of chi^2 that ends a fit.
    engine : str, optional
        "auto", "compiled" or "numpy"; see `choose_engine`. They agree to about 1e-8.

    Returns
    -------
    BoxFits
        Arrays over boxes and clumps. A box with too few usable pixels is NaN with status
        `FitStatus.TOO_FEW_PIXELS`.

    Raises
    ------
    InputError
        If the arrays do not fit together or an option is not known.

    Notes
    -----
    Levenberg-Marquardt on x, y and L of C = floor I + L L^T with analytic derivatives; flux
    and plane are solved exactly at each step. Errors are those of C itself, valid through
    C = 0: (J^T W J)^-1, or with correlated noise H^-1 [J^T W^1/2 rho W^1/2 J] H^-1.
    Model of Claeyssens et al. 2026, section 3.1.2.
    """
    data = np.asarray(data, dtype=np.float64)
    data = data[None] if data.ndim == 2 else data
    if data.ndim != 3:
        msg = f"data has the shape {data.shape}; give (n, height, width) or (height, width)"
        raise InputError(msg)
    n, height, width = data.shape
    try:
        sigma = np.broadcast_to(np.asarray(sigma, dtype=np.float64), data.shape)
    except ValueError:
        msg = f"sigma has the shape {np.shape(sigma)} and data {data.shape}; give one error per pixel, or one for all"
        raise InputError(msg) from None
    kernel = psf if isinstance(psf, PsfKernel) else make_kernel(psf, (height, width), pixel_scale=pixel_scale)
    if (kernel.height, kernel.width) != (height, width):
        made, given = f"{kernel.height} x {kernel.width}", f"{height} x {width}"
        msg = f"the PSF kernel was made for boxes of {made} px and the data are {given}; make one with make_kernel"
        raise InputError(msg)
    n_sources = next((np.shape(a)[1] for a in (x, y) if np.ndim(a) == 2), 1)
    x = np.full((n, n_sources), 0.5 * (width - 1)) if x is None else _per_source(x, n, n_sources, "x")
    y = np.full((n, n_sources), 0.5 * (height - 1)) if y is None else _per_source(y, n, n_sources, "y")
    shape_mode = _modes(fit_shape, {True: 1, False: 0}, n, n_sources, "fit_shape")
    centre_mode = _modes(centre, _CENTRES, n, n_sources, "centre")
    start = np.empty((n, n_sources, 5))
    start[..., 0], start[..., 1] = x, y
    if shape is None:
        start[..., 2:] = np.where((shape_mode > 0)[..., None], [0.5, 0.5, 0.0], 0.0)
    else:
        start[..., 2:] = _shapes(shape, n, n_sources, "shape", (3,))
    if not np.all(np.isfinite(start)):
        msg = "x, y or shape holds values that are not finite; leave those clumps out before the fit"
        raise InputError(msg)
    good = np.isfinite(data) & np.isfinite(sigma) & (sigma > 0)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        weight = np.where(good, 1.0 / np.square(sigma), 0.0)
    weight[~np.isfinite(weight)] = 0.0
    problem = Problem(
        kernel=kernel,
        data=np.where(weight > 0, data, 0.0).reshape(n, height * width),
        weight=weight.reshape(n, height * width),
        start=start,
        anchor=start[..., :2].copy() if anchor is None else _shapes(anchor, n, n_sources, "anchor", (2,)),
        centre_mode=centre_mode,
        shape_mode=shape_mode,
        floor=float(floor),
        max_shift=np.array(np.broadcast_to(np.asarray(max_shift, dtype=np.float64), n)),
        prior_sigma=float(prior_sigma),
        max_variance=float(max_variance),
        max_iterations=int(max_iterations),
        tolerance=float(tolerance),
        n_plane=3 if plane else 0,
        extra=_templates(template, data.shape),
        templated=template is not None,
        precision=np.full((n, 0 if template is None else 1), TEMPLATE_SIGMA**-2),
    )
    rho = None if noise_correlation is None else correlation_matrix(noise_correlation, height, width)
    cov_c = None if shape_covariance is None else _shapes(shape_covariance, n, n_sources, "shape_covariance", (3, 3))
    engine = choose_engine(engine)
    parts = [
        _fit_part(
            problem.part(turn),
            rho,
            None if cov_c is None else cov_c[turn],
            engine,
            test_point=test_point,
            curved=curved and plane,
        )
        for turn in _turns(n, _TURN // 8 if curved or template is not None else _TURN)
    ]
    if len(parts) == 1:
        return parts[0]
    return BoxFits(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(BoxFits)})


def _turns(n: int, step: int) -> Iterator[slice]:
    """Yield slices over n boxes; one empty slice for none."""
    for begin in range(0, max(n, 1), step):
        yield slice(begin, begin + step)


def _templates(template: Any, shape: tuple[int, int, int]) -> FloatArray:
    """Return the given shape of the background as a term for each box, (n, 0 or 1, pixels)."""
    n, height, width = shape
    if template is None:
        return np.zeros((n, 0, height * width))
    array = np.asarray(template, dtype=np.float64)
    if array.shape != shape:
        msg = f"template has the shape {array.shape} and data {shape}; give one image for each box"
        raise InputError(msg)
    return np.where(np.isfinite(array), array, 0.0).reshape(n, 1, height * width)


def _shapes(value: Any, n: int, n_sources: int, name: str, tail: tuple[int, ...]) -> FloatArray:
    """Return an array (n, clumps, *tail) from one that may lack the clump axis."""
    array = np.asarray(value, dtype=np.float64)
    if array.ndim == 1 + len(tail) and n_sources == 1:
        array = array[:, None]
    try:
        return np.array(np.broadcast_to(array, (n, n_sources, *tail)))
    except ValueError:
        wanted = ", ".join(map(str, (n, n_sources, *tail)))
        msg = f"{name} has the shape {array.shape}; give ({wanted})"
        raise InputError(msg) from None


def _free_parameters(problem: Problem) -> npt.NDArray[np.bool_]:
    """Return which parameters were fitted, (n, P)."""
    n, n_sources = problem.start.shape[:2]
    n_linear = problem.n_linear
    free = np.zeros((n, n_linear + 5 * n_sources), dtype=bool)
    free[:, :n_sources] = True
    free[:, n_sources + 3 : n_linear] = True
    free[:, n_sources : n_sources + problem.n_plane] = True
    for s in range(n_sources):
        at = n_linear + 5 * s
        free[:, at : at + 2] = (problem.centre_mode[:, s] > 0)[:, None]
        free[:, at + 2 : at + 5] = (problem.shape_mode[:, s] > 0)[:, None]
    return free


def _inverse(hessian: FloatArray, free: npt.NDArray[np.bool_]) -> FloatArray:
    """Return the inverse over the free parameters, zero elsewhere, NaN where it cannot be had."""
    both = free[:, :, None] & free[:, None, :]
    matrix = np.where(both, hessian, np.eye(hessian.shape[1]))
    diagonal = np.einsum("nii->ni", matrix)
    bad = (diagonal <= 0).any(1) | ~np.isfinite(matrix).all((1, 2))
    matrix[bad] = np.eye(hessian.shape[1])
    scale = 1.0 / np.sqrt(np.einsum("nii->ni", matrix))
    matrix *= scale[:, :, None] * scale[:, None, :]
    np.einsum("nii->ni", matrix)[...] += 1e-12
    inverse = np.linalg.inv(matrix) * scale[:, :, None] * scale[:, None, :]
    bad |= (np.einsum("nii->ni", inverse) < 0).any(1)
    inverse[bad] = np.nan
    return np.where(both, inverse, 0.0)


def _point_costs(problem: Problem, best: Solution, engine: str) -> FloatArray:
    """Return the chi^2 that each clump costs as a point, the rest refitted from the best place."""
    cost = np.full(problem.start.shape[:2], np.nan)
    begin = np.where(np.isfinite(best.place), best.place, problem.start)
    for s in range(problem.n_sources):
        start, mode = begin.copy(), problem.shape_mode.copy()
        start[:, s, 2:], mode[:, s] = 0.0, 0
        cost[:, s] = solve(replace(problem, start=start, shape_mode=mode), engine=engine).chi2 - best.chi2
    return cost


def _fit_part(
    problem: Problem, rho: FloatArray | None, cov_c: FloatArray | None, engine: str, *, test_point: bool, curved: bool
) -> BoxFits:
    """Fit a turn of boxes and work out the errors."""
    n_sources = problem.n_sources
    keep_design = rho is not None or cov_c is not None
    keep_design |= problem.templated
    found = solve(problem, engine=engine, keep_design=keep_design or curved)
    if curved:
        problem = _with_curvature(problem, found, rho)
        found = solve(problem, engine=engine, keep_design=keep_design)
    n_linear = problem.n_linear
    fitted = found.status != 2
    free = _free_parameters(problem) & fitted[:, None]
    inverse = _inverse(found.hessian, free)
    covariance = inverse
    scale = np.ones(problem.start.shape[:2])
    if rho is not None:
        white = found.design * np.sqrt(problem.weight)[:, None]
        middle = (white @ rho) @ white.swapaxes(1, 2)
        for s in range(n_sources):
            for q in range(2):
                p = n_linear + 5 * s + q
                middle[:, p, p] += (problem.centre_mode[:, s] == 2) / problem.prior_sigma**2
        for q in range(problem.precision.shape[1]):
            middle[:, n_sources + 3 + q, n_sources + 3 + q] += problem.precision[:, q]
        covariance = inverse @ middle @ inverse
    # A term with a prior is a parameter and a datum: it leaves the degrees of freedom as they are.
    dof = (problem.weight > 0).sum(1) - free.sum(1) + problem.precision.shape[1] * fitted
    if curved:
        covariance = covariance * _excess(found.chi2, dof)[:, None, None]
    variance = np.einsum("nii->ni", covariance).copy()
    shape_covariance = np.zeros((len(variance), n_sources, 3, 3))
    flux_shape_var = np.zeros((len(variance), n_sources))
    for s in range(n_sources):
        at = n_linear + 5 * s
        shape_covariance[:, s] = covariance[:, at + 2 : at + 5, at + 2 : at + 5]
        if rho is not None:
            # chi^2 differences are inflated or deflated by the correlation as the variance of the size is.
            plain = inverse[:, at + 2 : at + 4, at + 2 : at + 4].sum((1, 2))
            real = covariance[:, at + 2 : at + 4, at + 2 : at + 4].sum((1, 2))
            scale[:, s] = np.divide(plain, real, out=np.ones_like(plain), where=real > 0)
        if cov_c is not None and cov_c[:, s].any():
            slope = _flux_slope(problem, found, inverse, s)
            flux_shape_var[:, s] = np.einsum("ni,nij,nj->n", slope, cov_c[:, s], slope)
    flux_shape_var = np.maximum(flux_shape_var, 0.0)
    unlike = _unlike_template(problem, found, inverse) if problem.templated else np.zeros((len(variance), n_sources))
    error = np.sqrt(np.where(free & (variance >= 0), variance, np.nan))
    error[~free & fitted[:, None]] = 0.0
    cost = _point_costs(problem, found, engine) * scale if test_point else np.full(scale.shape, np.nan)
    flux = found.linear[:, :n_sources]
    strength = np.einsum("nii->ni", found.hessian)[:, :n_sources]
    further = np.arange(n_sources + 3, n_linear)
    return BoxFits(
        flux=flux,
        flux_err=np.sqrt(error[:, :n_sources] ** 2 + flux_shape_var + unlike),
        x=found.place[..., 0],
        y=found.place[..., 1],
        x_err=error[:, n_linear::5],
        y_err=error[:, n_linear + 1 :: 5],
        shape=found.place[..., 2:],
        shape_covariance=shape_covariance,
        plane=found.linear[:, n_sources : n_sources + 3],
        snr=flux * np.sqrt(strength),
        chi2=found.chi2,
        dof=dof,
        dchi2_point=cost,
        flux_shape_err=np.sqrt(flux_shape_var),
        covariance=np.delete(np.delete(covariance, further, axis=1), further, axis=2),
        status=found.status,
        iterations=found.iterations,
        at_bound=found.bound,
        n_bad=(problem.weight <= 0).sum(1),
    )


def _excess(chi2: FloatArray, dof: IntArray) -> FloatArray:
    """Return the factor on variances for what the model does not describe, such as clumps that nobody listed.

    chi^2 over what it reaches in one fit of six without any such light, but never below one.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.fmax(chi2 / (dof + np.sqrt(2.0 * np.maximum(dof, 1))), 1.0)


def _with_curvature(problem: Problem, found: Solution, rho: FloatArray | None) -> Problem:
    """Return the boxes with terms of curvature in their backgrounds, begun where the fit without them ended."""
    inverse = _inverse(found.hessian, _free_parameters(problem) & (found.status != 2)[:, None])
    level = np.nan_to_num(found.linear[:, problem.n_sources])
    amplitude = curvature_amplitude(
        problem, found, np.nan_to_num(inverse), rho, LEAST_CURVATURE * np.maximum(level, 0.0)
    )
    terms, spread = curvature_terms(problem.kernel.height, problem.kernel.width)
    n = len(amplitude)
    place = np.where(np.isfinite(found.place), found.place, problem.start)
    return replace(
        problem,
        start=place,
        extra=np.concatenate([problem.extra, np.broadcast_to(terms, (n, *terms.shape))], axis=1),
        precision=np.concatenate([problem.precision, (amplitude[:, None] * spread) ** -2.0], axis=1),
    )


def _unlike_template(problem: Problem, found: Solution, inverse: FloatArray) -> FloatArray:
    """Return the variance of fluxes by light under the clumps whose colour is not that of the rest of the box.

    One amplitude stands for all of the template; the structure under a clump, which may be another clump that nobody
    listed, may have more or less of it by `UNLIKE`.
    """
    height, width, n_sources = problem.kernel.height, problem.kernel.width, problem.n_sources
    row, column = np.divmod(np.arange(height * width), width)
    plane = np.stack([np.ones(height * width), column - 0.5 * (width - 1), row - 0.5 * (height - 1)])
    weight, template = problem.weight, problem.extra[:, 0]
    normal = (plane * weight[:, None]) @ plane.T
    normal[(weight > 0).sum(1) < 3] = np.eye(3)
    level = np.linalg.solve(normal, plane @ (weight * template)[:, :, None])
    structure = (template - (plane.T @ level)[:, :, 0]) * found.linear[:, n_sources + 3, None] * weight
    out = np.zeros((len(template), n_sources))
    answer = inverse[:, :n_sources] @ found.design
    for s in range(n_sources):
        x, y = found.place[:, s, 0, None], found.place[:, s, 1, None]
        near = np.exp(-0.5 * ((column - x) ** 2 + (row - y) ** 2) / _CORE**2)
        out[:, s] = np.square(UNLIKE * (answer[:, s] * structure * near).sum(1))
    return np.nan_to_num(out)


def _flux_slope(problem: Problem, found: Solution, inverse: FloatArray, s: int) -> FloatArray:
    """Return dF/dC of a clump whose shape was held fixed, (n, 3)."""
    place = np.where(np.isfinite(found.place[:, s]), found.place[:, s], problem.start[:, s])
    images = render_batch(problem.kernel, place[:, 0], place[:, 1], place[:, 2:], 3)[:, 3:]
    images = images * (found.linear[:, s, None, None] * problem.weight[:, None])
    pull = np.einsum("np,npi->ni", inverse[:, s], found.design)
    return np.asarray(-np.einsum("ni,nci->nc", pull, images))
