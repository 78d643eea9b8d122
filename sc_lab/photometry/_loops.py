"""The least-squares fit of one box after another in plain loops, made to be compiled; `_batched` says the same readably."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__: list[str] = []  # called by `_engine` alone

# Numbers shared with the readable version, so that both take the same steps.
FIRST_DAMPING = 1e-2
EASE, TIGHTEN = 0.15, 6.0
LEAST_DAMPING, MOST_DAMPING = 1e-7, 1e9
RIDGE = 1e-10


def render_source(
    modes: Any, k: Any, x_table: Any, y_table: Any, width: int, height: int,
    x: float, y: float, cxx: float, cyy: float, cxy: float, level: int, wave: Any, rows: Any, out: Any,
) -> None:  # fmt: skip
    """Write the image of one clump (and its derivatives) into ``out``; see `rendering.render_batch`.

    Positions count from the middle of the box, so that pixels on both sides of it share their
    sums: ``x_table`` and ``y_table`` hold one side only, and even and odd parts are kept apart.
    ``modes`` is (4, ky, kx): real and imaginary part of the modes (kx, ky), then of (-kx, ky).
    """
    m = k.size
    a = 2.0 * math.pi * math.pi
    u, v = (width + 1) // 2, (height + 1) // 2
    n_columns = level * u
    k_1 = k[1]
    x -= 0.5 * (width - 1)
    y -= 0.5 * (height - 1)
    for j in range(m):
        damp = math.exp(-a * cxx * k[j] * k[j])
        wave[0, j], wave[1, j] = damp, damp
        # The cross term is a geometric series in ky.
        ratio = math.exp(-2.0 * a * cxy * k_1 * k[j])
        wave[2, j], wave[3, j] = ratio, 1.0 / ratio
        wave[4, j], wave[5, j] = math.cos(2.0 * math.pi * x * k[j]), -math.sin(2.0 * math.pi * x * k[j])
    for i in range(m):
        damp = math.exp(-a * cyy * k[i] * k[i])
        c_y, s_y = damp * math.cos(2.0 * math.pi * y * k[i]), -damp * math.sin(2.0 * math.pi * y * k[i])
        for j in range(m):
            g_plus, g_minus, c_x, s_x = wave[0, j], wave[1, j], wave[4, j], wave[5, j]
            wave[0, j] = g_plus * wave[2, j]
            wave[1, j] = g_minus * wave[3, j]
            re, im = modes[0, i, j] * g_plus, modes[1, i, j] * g_plus
            re_b, im_b = modes[2, i, j] * g_minus, modes[3, i, j] * g_minus
            # times exp(-2 pi i kx x), its conjugate for the mirrored mode, and exp(-2 pi i ky y) for both
            p_re, p_im = re * c_x - im * s_x, re * s_x + im * c_x
            q_re, q_im = re_b * c_x + im_b * s_x, im_b * c_x - re_b * s_x
            e_re, e_im, o_re, o_im = p_re + q_re, p_im + q_im, p_re - q_re, p_im - q_im
            wave[6, j] = e_re * c_y - e_im * s_y
            wave[7, j] = e_re * s_y + e_im * c_y
            wave[8, j] = -(o_re * s_y + o_im * c_y)
            wave[9, j] = o_re * c_y - o_im * s_y
        # Sums along contiguous memory into scalars: the form that vectorises best.
        for c in range(n_columns):
            even_re, even_im, odd_re, odd_im = 0.0, 0.0, 0.0, 0.0
            for j in range(m):
                even, odd = x_table[0, c, j], x_table[1, c, j]
                even_re += wave[6, j] * even
                even_im += wave[7, j] * even
                odd_re += wave[8, j] * odd
                odd_im += wave[9, j] * odd
            rows[0, c, i] = even_re
            rows[1, c, i] = even_im
            rows[2, c, i] = odd_re
            rows[3, c, i] = odd_im
    right, top = width // 2, height // 2
    for r in range(v):
        for order in range(level):
            # Real rows are even in y and imaginary ones odd; in the first derivative the other way round.
            sign = -1.0 if order == 1 else 1.0
            up, down = (top + r) * width, (height - 1 - top - r) * width
            for power in range(level - order):
                # which image: 0 itself, 1 d/dx, 2 d/dy, 3 d/dCxx, 4 d/dCyy, 5 d/dCxy
                if order == 0:
                    which = power if power < 2 else 3
                elif order == 1:
                    which = 2 if power == 0 else 5
                else:
                    which = 4
                flip = -1.0 if power == 1 else 1.0
                at = power * u
                for c in range(u):
                    re, im, re_o, im_o = 0.0, 0.0, 0.0, 0.0
                    for i in range(m):
                        t_re, t_im = y_table[order, 0, r, i], y_table[order, 1, r, i]
                        re += t_re * rows[0, at + c, i]
                        im += t_im * rows[1, at + c, i]
                        re_o += t_re * rows[2, at + c, i]
                        im_o += t_im * rows[3, at + c, i]
                    even_up, odd_up = re + im, re_o + im_o
                    even_down, odd_down = sign * (re - im), sign * (re_o - im_o)
                    out[which, up + right + c] = even_up + odd_up
                    out[which, up + width - 1 - right - c] = flip * (even_up - odd_up)
                    out[which, down + right + c] = even_down + odd_down
                    out[which, down + width - 1 - right - c] = flip * (even_down - odd_down)


def scaled_solve(matrix: Any, vector: Any, n: int, factor: Any, scale: Any, answer: Any) -> None:
    """Solve a symmetric positive system after scaling its diagonal to one (Cholesky, with a tiny ridge)."""
    for i in range(n):
        scale[i] = 1.0 / math.sqrt(max(matrix[i, i], 1e-300))
    for i in range(n):
        for j in range(i + 1):
            total = matrix[i, j] * scale[i] * scale[j]
            if i == j:
                total += RIDGE
            for q in range(j):
                total -= factor[i, q] * factor[j, q]
            if i == j:
                factor[i, i] = math.sqrt(max(total, 1e-14))
            else:
                factor[i, j] = total / factor[j, j]
    for i in range(n):
        total = vector[i] * scale[i]
        for q in range(i):
            total -= factor[i, q] * answer[q]
        answer[i] = total / factor[i, i]
    for i in range(n - 1, -1, -1):
        total = answer[i]
        for q in range(i + 1, n):
            total -= factor[q, i] * answer[q]
        answer[i] = total / factor[i, i]
    for i in range(n):
        answer[i] *= scale[i]


def evaluate(
    mode_table: Any, k: Any, x_table: Any, y_table: Any, width: int, height: int,
    data: Any, weight: Any, anchor: Any, centre_mode: Any, shape_mode: Any, prior_sigma: float, precision: Any,
    place: Any, columns: Any, weighted: Any, residual: Any, hessian: Any, gradient: Any, linear: Any,
    wave: Any, rows: Any, images: Any, factor: Any, scale: Any,
) -> float:  # fmt: skip
    """Fill design matrix, Hessian and gradient at one place, with flux and background at their best; return chi^2.

    ``place`` is (sources, 5): x, y, Cxx, Cyy, Cxy. The parameters are the fluxes, the plane, the further terms
    of the background (each with the ``precision`` of its prior), then five per source; those that are fixed have
    empty rows.
    """
    n_sources, n_pixels = place.shape[0], data.size
    n_fixed = n_sources + 3
    n_linear = n_fixed + precision.size
    n_parameters = n_linear + 5 * n_sources
    for s in range(n_sources):
        level = 1
        if centre_mode[s] > 0:
            level = 2
        if shape_mode[s] > 0:
            level = 3
        render_source(
            mode_table, k, x_table, y_table, width, height,
            place[s, 0], place[s, 1], place[s, 2], place[s, 3], place[s, 4], level, wave, rows, images,
        )  # fmt: skip
        columns[s] = images[0]
        first = n_linear + 5 * s
        for q in range(5):
            used = (centre_mode[s] > 0) if q < 2 else (shape_mode[s] > 0)
            if used:
                columns[first + q] = images[1 + q]
            else:
                columns[first + q] = 0.0
    for p in range(n_linear):
        for i in range(n_pixels):
            weighted[p, i] = columns[p, i] * weight[i]
    for p in range(n_linear):
        total = 0.0
        for i in range(n_pixels):
            total += weighted[p, i] * data[i]
        gradient[p] = total
        for q in range(p + 1):
            total = 0.0
            for i in range(n_pixels):
                total += weighted[p, i] * columns[q, i]
            hessian[p, q] = total
            hessian[q, p] = total
    for p in range(n_fixed, n_linear):
        hessian[p, p] += precision[p - n_fixed]
    for p in range(n_linear):
        if hessian[p, p] <= 0.0:
            hessian[p, p] = 1.0
    scaled_solve(hessian, gradient, n_linear, factor, scale, linear)
    for i in range(n_pixels):
        residual[i] = data[i]
    for p in range(n_linear):
        for i in range(n_pixels):
            residual[i] -= linear[p] * columns[p, i]
    chi2 = 0.0
    for i in range(n_pixels):
        chi2 += weight[i] * residual[i] * residual[i]
    for p in range(n_linear):
        total = 0.0
        for i in range(n_pixels):
            total += weighted[p, i] * residual[i]
        gradient[p] = total
    for p in range(n_fixed, n_linear):
        pull = linear[p] * precision[p - n_fixed]
        chi2 += pull * linear[p]
        gradient[p] -= pull
    for s in range(n_sources):
        for q in range(5):
            p = n_linear + 5 * s + q
            for i in range(n_pixels):
                columns[p, i] *= linear[s]
    for p in range(n_linear, n_parameters):
        used = centre_mode[(p - n_linear) // 5] > 0 if (p - n_linear) % 5 < 2 else shape_mode[(p - n_linear) // 5] > 0
        if not used:
            for q in range(n_parameters):
                hessian[p, q] = 0.0
                hessian[q, p] = 0.0
            gradient[p] = 0.0
            continue
        for i in range(n_pixels):
            weighted[p, i] = columns[p, i] * weight[i]
        total = 0.0
        for i in range(n_pixels):
            total += weighted[p, i] * residual[i]
        gradient[p] = total
        for q in range(p + 1):
            total = 0.0
            for i in range(n_pixels):
                total += weighted[p, i] * columns[q, i]
            hessian[p, q] = total
            hessian[q, p] = total
    for s in range(n_sources):
        if centre_mode[s] == 2:
            for q in range(2):
                p = n_linear + 5 * s + q
                pull = (place[s, q] - anchor[s, q]) / prior_sigma
                chi2 += pull * pull
                gradient[p] -= pull / prior_sigma
                hessian[p, p] += 1.0 / prior_sigma**2
    return chi2


def fit_many(
    mode_table: Any, k: Any, x_table: Any, y_table: Any, width: int, height: int,
    data: Any, weight: Any, start: Any, anchor: Any, centre_mode: Any, shape_mode: Any,
    floor: float, max_shift: Any, prior_sigma: float, max_variance: float, max_iterations: int, tolerance: float,
    n_plane: int, extra: Any, precision: Any, keep_design: bool,
    out_place: Any, out_linear: Any, out_chi2: Any, out_hessian: Any, out_design: Any,
    out_iterations: Any, out_status: Any, out_bound: Any,
) -> None:  # fmt: skip
    """Fit box after box; the arguments are those of `_batched.fit_many`."""
    n_fits, n_sources, n_pixels = start.shape[0], start.shape[1], data.shape[1]
    n_extra = extra.shape[1]
    n_linear = n_sources + 3 + n_extra
    n = n_linear + 5 * n_sources
    m = k.size
    wave = np.zeros((10, m))
    rows = np.zeros((4, 3 * ((width + 1) // 2), m))
    images = np.zeros((6, n_pixels))
    columns = np.zeros((2, n, n_pixels))
    weighted = np.zeros((n, n_pixels))
    residual = np.zeros(n_pixels)
    hessian = np.zeros((2, n, n))
    gradient = np.zeros((2, n))
    linear = np.zeros((2, n))
    factor = np.zeros((n, n))
    scale = np.zeros(n)
    step = np.zeros(n)
    system = np.zeros((n, n))
    target = np.zeros(n)
    short_system = np.zeros((n, n))
    short_target = np.zeros(n)
    short_step = np.zeros(n)
    active = np.zeros(n, dtype=np.int64)
    frozen = np.zeros(n, dtype=np.bool_)
    lower = np.zeros((2, n_sources, 3))
    place = np.zeros((2, n_sources, 5))
    mid_x, mid_y = 0.5 * (width - 1), 0.5 * (height - 1)
    for side in range(2):
        for i in range(n_pixels):
            if n_plane > 0:
                columns[side, n_sources, i] = 1.0
            if n_plane > 1:
                columns[side, n_sources + 1, i] = (i % width) - mid_x
                columns[side, n_sources + 2, i] = (i // width) - mid_y

    for f in range(n_fits):
        n_good = 0
        for i in range(n_pixels):
            if weight[f, i] > 0.0:
                n_good += 1
        n_free = n_sources + n_plane
        for s in range(n_sources):
            n_free += (2 if centre_mode[f, s] > 0 else 0) + (3 if shape_mode[f, s] > 0 else 0)
        if n_good <= n_free:
            out_status[f] = 2
            continue
        n_active = 0
        for p in range(n):
            used = p < n_sources + n_plane or n_sources + 3 <= p < n_linear
            if p >= n_linear:
                s = (p - n_linear) // 5
                used = centre_mode[f, s] > 0 if (p - n_linear) % 5 < 2 else shape_mode[f, s] > 0
            if used:
                active[n_active] = p
                n_active += 1
        for side in range(2):
            for q in range(n_extra):
                for i in range(n_pixels):
                    columns[side, n_sources + 3 + q, i] = extra[f, q, i]
        now, trial = 0, 1
        for s in range(n_sources):
            for q in range(5):
                place[0, s, q] = start[f, s, q]
                place[1, s, q] = start[f, s, q]
            l11 = math.sqrt(max(start[f, s, 2] - floor, 1e-4))
            l21 = start[f, s, 4] / l11
            l22 = math.sqrt(max(start[f, s, 3] - floor - l21 * l21, 1e-4))
            for side in range(2):
                lower[side, s, 0], lower[side, s, 1], lower[side, s, 2] = l11, l21, l22
            if shape_mode[f, s] > 0:
                place[0, s, 2] = floor + l11 * l11
                place[0, s, 3] = floor + l21 * l21 + l22 * l22
                place[0, s, 4] = l11 * l21
        chi2 = evaluate(
            mode_table, k, x_table, y_table, width, height,
            data[f], weight[f], anchor[f], centre_mode[f], shape_mode[f], prior_sigma, precision[f],
            place[now], columns[now], weighted, residual, hessian[now], gradient[now], linear[now],
            wave, rows, images, factor, scale,
        )  # fmt: skip
        damping = FIRST_DAMPING
        status = 1
        iterations = 0
        nothing_free = n_free == n_sources + n_plane
        while iterations < max_iterations:
            if nothing_free:
                status = 0
                break
            iterations += 1
            # Gauss-Newton matrix in the coordinates of the step: the shape through its Cholesky factor.
            for p in range(n):
                target[p] = gradient[now, p]
                for q in range(n):
                    system[p, q] = hessian[now, p, q]
            for s in range(n_sources):
                if shape_mode[f, s] == 0:
                    continue
                c = n_linear + 5 * s + 2
                a, b, d = lower[now, s, 0], lower[now, s, 1], lower[now, s, 2]
                # dCxx = 2a da; dCyy = 2b db + 2d dd; dCxy = b da + a db
                g_xx, g_yy, g_xy = target[c], target[c + 1], target[c + 2]
                target[c] = 2 * a * g_xx + b * g_xy
                target[c + 1] = 2 * b * g_yy + a * g_xy
                target[c + 2] = 2 * d * g_yy
                for q in range(n):
                    h_xx, h_yy, h_xy = system[c, q], system[c + 1, q], system[c + 2, q]
                    system[c, q] = 2 * a * h_xx + b * h_xy
                    system[c + 1, q] = 2 * b * h_yy + a * h_xy
                    system[c + 2, q] = 2 * d * h_yy
                for q in range(n):
                    h_xx, h_yy, h_xy = system[q, c], system[q, c + 1], system[q, c + 2]
                    system[q, c] = 2 * a * h_xx + b * h_xy
                    system[q, c + 1] = 2 * b * h_yy + a * h_xy
                    system[q, c + 2] = 2 * d * h_yy
                # The curvature of the map; without it fits stall where the factor nears zero.
                system[c, c] += max(-2.0 * g_xx, 0.0)
                system[c + 1, c + 1] += max(-2.0 * g_yy, 0.0)
                system[c + 2, c + 2] += max(-2.0 * g_yy, 0.0)
            for p in range(n):
                frozen[p] = system[p, p] <= 0.0
            for s in range(n_sources):
                if centre_mode[f, s] > 0:
                    for q in range(2):
                        p = n_linear + 5 * s + q
                        shift = place[now, s, q] - anchor[f, s, q]
                        at_high = shift >= max_shift[f] * (1 - 1e-9) and target[p] > 0
                        at_low = shift <= -max_shift[f] * (1 - 1e-9) and target[p] < 0
                        if at_high or at_low:
                            frozen[p] = True
            for p in range(n):
                if frozen[p]:
                    for q in range(n):
                        system[p, q] = 0.0
                        system[q, p] = 0.0
                    system[p, p] = 1.0
                    target[p] = 0.0
            for p in range(n_linear, n):
                if not frozen[p]:
                    system[p, p] *= 1.0 + damping
            # Only what is free enters the solution: with many fixed shapes that is half of it.
            for p in range(n_active):
                short_target[p] = target[active[p]]
                for q in range(n_active):
                    short_system[p, q] = system[active[p], active[q]]
            scaled_solve(short_system, short_target, n_active, factor, scale, short_step)
            for p in range(n):
                step[p] = 0.0
            for p in range(n_active):
                step[active[p]] = short_step[p]
            predicted = 0.0
            for p in range(n):
                predicted += step[p] * target[p]
                if p >= n_linear and not frozen[p]:
                    predicted += damping / (1.0 + damping) * system[p, p] * step[p] * step[p]
            for s in range(n_sources):
                c = n_linear + 5 * s
                for q in range(2):
                    if centre_mode[f, s] > 0:
                        moved = place[now, s, q] + step[c + q]
                        moved = min(moved, anchor[f, s, q] + max_shift[f])
                        place[trial, s, q] = max(moved, anchor[f, s, q] - max_shift[f])
                    else:
                        place[trial, s, q] = place[now, s, q]
                if shape_mode[f, s] > 0:
                    a = lower[now, s, 0] + step[c + 2]
                    b = lower[now, s, 1] + step[c + 3]
                    d = lower[now, s, 2] + step[c + 4]
                    half_sum = 0.5 * (a * a + b * b + d * d)
                    half_gap = math.sqrt((0.5 * (a * a - b * b - d * d)) ** 2 + (a * b) ** 2)
                    if floor + half_sum + half_gap > max_variance:
                        shrink = math.sqrt((max_variance - floor) / (half_sum + half_gap))
                        a, b, d = a * shrink, b * shrink, d * shrink
                    lower[trial, s, 0], lower[trial, s, 1], lower[trial, s, 2] = a, b, d
                    place[trial, s, 2] = floor + a * a
                    place[trial, s, 3] = floor + b * b + d * d
                    place[trial, s, 4] = a * b
                else:
                    for q in range(2, 5):
                        place[trial, s, q] = place[now, s, q]
            new_chi2 = evaluate(
                mode_table, k, x_table, y_table, width, height,
                data[f], weight[f], anchor[f], centre_mode[f], shape_mode[f], prior_sigma, precision[f],
                place[trial], columns[trial], weighted, residual, hessian[trial], gradient[trial], linear[trial],
                wave, rows, images, factor, scale,
            )  # fmt: skip
            gain = chi2 - new_chi2
            small = predicted < tolerance or abs(gain) < tolerance
            easy = damping < 1.0
            if gain >= 0.0:
                now, trial = trial, now
                chi2 = new_chi2
                damping = max(damping * EASE, LEAST_DAMPING)
            else:
                damping *= TIGHTEN
            if small and easy:
                status = 0
                break
            if damping > MOST_DAMPING:
                status = 3
                break
        out_status[f] = status
        out_iterations[f] = iterations
        out_chi2[f] = chi2
        for s in range(n_sources):
            bits = 0
            if centre_mode[f, s] > 0:
                for q in range(2):
                    if abs(place[now, s, q] - anchor[f, s, q]) >= max_shift[f] * (1 - 1e-6):
                        bits |= 1
            if shape_mode[f, s] > 0:
                half_sum = 0.5 * (place[now, s, 2] + place[now, s, 3])
                gap = math.sqrt((0.5 * (place[now, s, 2] - place[now, s, 3])) ** 2 + place[now, s, 4] ** 2)
                if half_sum + gap >= max_variance * (1 - 1e-6):
                    bits |= 2
            out_bound[f, s] = bits
            for q in range(5):
                out_place[f, s, q] = place[now, s, q]
        for p in range(n_linear):
            out_linear[f, p] = linear[now, p]
        for p in range(n):
            for q in range(n):
                out_hessian[f, p, q] = hessian[now, p, q]
        if keep_design:
            for p in range(n):
                for i in range(n_pixels):
                    out_design[f, p, i] = columns[now, p, i]
