"""What the picker writes about clumps: state and text of each marker, the numbers of the selected one."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from astropy.table import Table

__all__ = ["Markers", "fitted", "numbers_html", "with_error"]

#: A flux stands in one line.
_WHOLE = " style='white-space:nowrap'"


@dataclass(frozen=True, eq=False)
class Markers:
    """Clumps as the cut-outs show them: places [px of the reference band], states, texts on S/N, flux and size."""

    ids: tuple[str, ...] = ()
    x: np.ndarray = field(default_factory=lambda: np.zeros(0))
    y: np.ndarray = field(default_factory=lambda: np.zeros(0))
    states: tuple[str, ...] = ()
    notes: tuple[tuple[str, ...], ...] = ()


def fitted(table: Table, name: str) -> np.ndarray:
    """Return a numeric column as plain numbers, masked or missing ones as NaN.

    Parameters
    ----------
    table : Table
        A table of fits.
    name : str
        The column.

    Returns
    -------
    ndarray of float64, shape (n,)
        The numbers, in the unit of the column.
    """
    if name not in table.colnames:
        return np.full(len(table), np.nan)
    column = table[name]
    plain = getattr(column, "unmasked", getattr(column, "value", column))
    plain = np.asarray(getattr(plain, "value", plain))
    values = np.array(plain, dtype=float)
    mask = np.asarray(getattr(column, "mask", False))
    return np.where(mask, np.nan, values)


def with_error(value: float, error: float) -> str:
    """Return a measured number with its error, to two figures of the error.

    Parameters
    ----------
    value, error : float
        Number and error in one unit; NaN where not measured.

    Returns
    -------
    str
        Such as "1470.3 ± 1.1".
    """
    if not np.isfinite(value):
        return "not measured"
    if not (np.isfinite(error) and error > 0):
        return f"{value:.4g}"
    places = 1 - int(np.floor(np.log10(error)))
    if not -4 <= places <= 6:
        return f"{value:.4g} ± {error:.2g}"
    places = max(places, 0)
    return f"{value:.{places}f} ± {error:.{places}f}"


def numbers_html(
    fits: Mapping[str, Any],
    bands: Iterable[str],
    state: str,
    described: Sequence[tuple[str, str]] = (),
) -> str:
    """Return the measured numbers of one clump as an HTML table.

    Parameters
    ----------
    fits : mapping
        One row of the fits: plain numbers and texts by column.
    bands : iterable of str
        The bands.
    state : str
        State of the clump.
    described : sequence of (str, str)
        Further lines: label and text.

    Returns
    -------
    str
        A table; every text is escaped.
    """

    def number(name: str) -> float:
        value = fits.get(name, np.nan)
        try:
            return float(value)
        except (TypeError, ValueError):
            return float("nan")

    bands = list(bands)
    lines = [("clump", f"{fits.get('id', '')} ({state})")]
    lines.append(("RA, Dec", f"{number('ra'):.7f}°, {number('dec'):.7f}°"))
    for band in bands:
        key = f"flux_{band.lower()}"
        flux, error = number(key), number(f"{key}_err")
        text = f"{with_error(flux, error)} nJy"
        if flux > 0:
            text += f" ({31.4 - 2.5 * np.log10(flux):.2f} AB)"
        lines.append((band, text if np.isfinite(flux) else "not measured"))
    radius, limit = number("r_eff_obs"), number("r_eff_obs_limit")
    size_class = str(fits.get("size_class", ""))
    if size_class == "unresolved" and np.isfinite(limit):
        lines.append(("size", f"< {limit:.1f} mas (unresolved)"))
    else:
        kind = {"one_axis": "resolved along one axis"}.get(size_class, size_class)
        lines.append(("size", f"{with_error(radius, number('r_eff_obs_err'))} mas" + (f" ({kind})" if kind else "")))
    if np.isfinite(number("snr")):
        lines.append(("S/N", f"{number('snr'):.1f}"))
    if np.isfinite(number("chi2")) and number("dof") > 0:
        lines.append(("χ² / dof", f"{number('chi2') / number('dof'):.2f}"))
    if fits.get("status"):
        lines.append(("fit", str(fits["status"])))
    lines += list(described)
    rows = "".join(
        f"<tr><th scope='row' style='text-align:left;padding-right:8px;vertical-align:top'>{html.escape(str(label))}</th>"
        f"<td{_WHOLE if label in bands else ''}>{html.escape(str(text))}</td></tr>"
        for label, text in lines
    )
    return f"<table style='font-size:12px;line-height:1.35'>{rows}</table>"
