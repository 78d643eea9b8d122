"""What a fit draws: spectrum, band fluxes, residuals, star-formation history and numbers, as plain arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from sc_lab_widgets.panels.sed_choice import Choice
    from sc_lab_widgets.panels.sed_light import Light

__all__ = ["CORNER", "Curves", "curves_of"]

#: Quantiles of every band that is drawn.
_Q: Final = (0.16, 0.5, 0.84)
#: Points of a spectrum that a screen can show.
_POINTS: Final = 900
#: Evenly spaced quantiles, for a mean.
_MANY: Final = tuple((np.arange(100) + 0.5) / 100)
#: Edges of the bins in which star formation is shown: a history of 1 Myr would be a spike at another place in every draw.
_EDGES: Final = np.concatenate([[0.0], 10.0 ** np.arange(0.0, 4.21, 0.2)])
#: Where the look-back time of zero is drawn [Myr].
_NOW: Final = 0.1
#: Draws that the band of a spectrum is made of: more cost more than the eye gains.
_SPECTRA: Final = 64
#: Draws of a corner plot.
_DRAWS: Final = 1000
#: Parameters of the corner plot: the quantity of a fit, and whether its logarithm is shown.
_SOURCES: Final = {
    "log_mass": ("log_mass", False),
    "log_age": ("age", True),
    "a_v": ("a_v", False),
    "log_z": ("metallicity", True),
}
CORNER: Final = tuple(_SOURCES)


@dataclass(frozen=True, eq=False)
class Curves:
    """A fit, ready to be drawn; what scales with the light is as observed, what is of the stars is intrinsic.

    Attributes
    ----------
    wavelength : ndarray, shape (n_w,)
        Observed wavelength [micron].
    spectrum : ndarray, shape (3, n_w)
        16, 50 and 84 % of the model spectrum [nJy].
    model_flux : ndarray, shape (3, n_band)
        16, 50 and 84 % of the model in the bands [nJy].
    residual : ndarray, shape (n_band,)
        (data - median model) / sigma, with the error floor.
    time : ndarray, shape (n_t,)
        Look-back time [Myr], two entries for every bin so that a line through them has steps.
    sfr : ndarray, shape (4, n_t)
        16, 50 and 84 % and the mean of the star-formation rate in each bin, without magnification [Msun / yr].
    corner : dict of str to ndarray
        Draws of equal weight of each parameter of `CORNER`.
    numbers : dict of str to tuple
        Median, and distances down and up to the 68 % interval, by parameter.
    """

    wavelength: np.ndarray
    spectrum: np.ndarray
    model_flux: np.ndarray
    residual: np.ndarray
    time: np.ndarray
    sfr: np.ndarray
    corner: dict[str, np.ndarray]
    numbers: dict[str, tuple[float, float, float]]


def _thinned(spectrum: Any, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the part of a spectrum between two wavelengths, at most `_POINTS` of it, with its highest lines."""
    x, y = (np.asarray(part, dtype=float) for part in spectrum)
    inside = np.flatnonzero((x >= low) & (x <= high))
    if not inside.size:
        return x[:0], y[:, :0]
    inside = np.arange(max(inside[0] - 1, 0), min(inside[-1] + 2, len(x)))
    x, y = x[inside], y[:, inside]
    if len(x) <= _POINTS:
        return x, y
    # Of each cell the sample whose median is highest stays: emission lines must not fall between two samples.
    cell = np.minimum((np.log(x / x[0]) / np.log(x[-1] / x[0]) * _POINTS).astype(int), _POINTS - 1)
    order = np.lexsort((y[1], cell))
    last = np.flatnonzero(np.append(np.diff(cell[order]) > 0, True))
    kept = np.sort(order[last])
    return x[kept], y[:, kept]


def _lookback(fit: Any) -> np.ndarray | None:
    """Return edges of look-back time [Myr] as coarse as ages are known; None for a history that has bins of its own."""
    return None if fit.model.sfh == "continuity" else _EDGES


def curves_of(fit: Any, light: Light, choice: Choice, *, low: float, high: float) -> Curves:
    """Return what is drawn of a fit.

    Parameters
    ----------
    fit : SedFit
        The fit.
    light : Light
        What was fitted.
    choice : Choice
        How.
    low, high : float
        Wavelengths that the figure reaches [micron].

    Returns
    -------
    Curves
        The arrays.
    """
    mu = light.mu if np.isfinite(light.mu) and light.mu > 0 else 1.0
    wavelength, spectrum = _thinned(fit.spectrum(_Q, n=_SPECTRA), low, high)
    model_flux = np.asarray(fit.model_flux(_Q), dtype=float)
    error = np.hypot(light.flux_err, choice.error_floor * np.abs(light.flux))
    with np.errstate(invalid="ignore", divide="ignore"):
        residual = (light.flux - model_flux[1]) / error
    edges, sfr = fit.sfh([*_Q, *_MANY], lookback=_lookback(fit))
    # The mean of evenly spaced quantiles is the mean: unlike the median it holds all the stars of the posterior.
    sfr = np.vstack([sfr[: len(_Q)], sfr[len(_Q) :].mean(axis=0)])
    drawn = fit.resampled(_DRAWS, 1)
    numbers = {}
    corner = {}
    for name, (wanted, log) in _SOURCES.items():
        # A binned history has no onset: its age is that of the mean star.
        source = wanted if wanted in drawn else "age_mw"
        low_q, middle, high_q = (float(value) for value in fit.quantile(source, _Q))
        draws = np.asarray(drawn[source], dtype=float)
        if log:
            draws = np.log10(draws)
            low_q, middle, high_q = np.log10(low_q), np.log10(middle), np.log10(high_q)
        shift = np.log10(mu) if name == "log_mass" else 0.0
        corner[name] = draws - shift
        numbers[name] = (float(middle - shift), float(middle - low_q), float(high_q - middle))
    return Curves(
        wavelength=wavelength,
        spectrum=spectrum,
        model_flux=model_flux,
        residual=residual,
        # A logarithmic axis has no place for now.
        time=np.repeat(np.maximum(np.asarray(edges, dtype=float), _NOW), 2)[1:-1],
        sfr=np.repeat(np.asarray(sfr, dtype=float) / mu, 2, axis=1),
        corner=corner,
        numbers=numbers,
    )
