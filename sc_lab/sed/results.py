"""What a fit of photometry returns: weighted posterior draws, evidence, best model, and bands for plots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from sc_lab.errors import InputError
from sc_lab.inference.summary import weighted_quantile
from sc_lab.sed.priors import Priors
from sc_lab.units import FloatArray

if TYPE_CHECKING:
    from astropy.cosmology import FLRW

    from sc_lab.sed.model import SedModel

__all__ = ["SedFit", "SedFits"]

#: The 16th, 50th and 84th percentile: median and 68 % interval.
_BAND = (0.16, 0.5, 0.84)


@dataclass(frozen=True, kw_only=True, eq=False)
class SedFit:
    """The posterior of one source.

    Parameters
    ----------
    samples : mapping of str to ndarray, shape (n_draw,)
        Draws by name: ``age``, ``age_mw`` [Myr], ``log_mass`` (living), ``log_mass_formed``
        [log10 solar masses], ``metallicity`` [Z/0.02], ``a_v`` [mag], ``log_u``, ``sfr10``,
        ``sfr100`` [solar masses per year], ``mag_v_obs``, ``abs_mag_v`` [AB mag]; an engine may
        add others. A row across the names is one model.
    weights : ndarray, shape (n_draw,)
        Weights of the draws; they are made to add to one.
    bands : tuple of str, length n_band
        Names of the bands.
    flux, flux_err : ndarray, shape (n_band,)
        The data [nJy]; NaN where a band was not observed or left out.
    z : float
        Redshift; the median when the redshift was fitted.
    model : SedModel
        Star-formation history, library and dust.
    priors : Priors
        Priors as they were used at this redshift.
    log_evidence : float
        Natural logarithm of the evidence, densities of the data in 1/nJy.
    ess : float
        Effective number of independent draws.
    best : mapping of str to float
        Parameters of the best model found, named as in ``samples``.
    best_chi2 : float
        Its chi-squared, with the error floor in the errors.
    best_flux : ndarray, shape (n_band,)
        Its fluxes [nJy] in all bands, fitted or not.
    draw_flux : ndarray, shape (n_draw, n_band), optional
        Model fluxes of the draws [nJy]; worked out from the samples when first asked for if not given.
    filters : tuple, optional
        The filters of the bands; None means those that the names find.
    engine : str
        "grid" or "bagpipes".
    cautions : tuple of str
        What the user should know before trusting the numbers, a sentence each.
    distance : float, optional
        Luminosity distance [Mpc] when it is not the redshift's.
    cosmology : `~astropy.cosmology.FLRW`, optional
        The cosmology; None means the house default.
    error_floor : float
        Fraction of the flux added in quadrature to its error.
    shape_err : ndarray, shape (n_band,), optional
        Fractional error common to all bands.
    meta : mapping
        Whatever else the engine records, as JSON values.
    """

    samples: Mapping[str, FloatArray]
    weights: FloatArray
    bands: tuple[str, ...]
    flux: FloatArray
    flux_err: FloatArray
    z: float
    model: SedModel
    priors: Priors
    log_evidence: float
    ess: float
    best: Mapping[str, float]
    best_chi2: float
    best_flux: FloatArray
    draw_flux: npt.NDArray[np.floating[Any]] | None = None
    filters: tuple[Any, ...] | None = None
    engine: str = "grid"
    cautions: tuple[str, ...] = ()
    distance: float | None = None
    cosmology: FLRW | None = None
    error_floor: float = 0.0
    shape_err: FloatArray | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        weights = np.asarray(self.weights, dtype=np.float64)
        total = weights.sum()
        if weights.ndim != 1 or not (np.isfinite(total) and total > 0):
            msg = (
                f"weights have the shape {weights.shape} and the sum {total!r}; give one weight per draw, some above 0"
            )
            raise InputError(msg)
        object.__setattr__(self, "weights", weights / total)
        for name, values in self.samples.items():
            if np.shape(values) != weights.shape:
                msg = f"samples[{name!r}] has the shape {np.shape(values)}, the weights have {weights.shape}"
                raise InputError(msg)

    def __repr__(self) -> str:
        """Return what a reader wants first; the draws would fill the screen."""
        shown = [f"{name} {middle:.3g} (-{minus:.2g} +{plus:.2g})" for name, (middle, minus, plus) in self._shown()]
        said = f"; {len(self.cautions)} cautions" if self.cautions else ""
        return (
            f"<SedFit of {int(np.isfinite(self.flux).sum())} bands at z = {self.z:.4g} with {self.engine}: "
            f"{', '.join(shown)}; chi2 {self.best_chi2:.1f}, {self.ess:.0f} effective draws{said}>"
        )

    def _shown(self) -> list[tuple[str, tuple[float, float, float]]]:
        """Return the summary of what everyone looks at."""
        summary = self.summary()
        return [(name, summary[name]) for name in ("log_mass", "age", "a_v", "metallicity") if name in summary]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the sampled and derived quantities."""
        return tuple(self.samples)

    def _values(self, name: str) -> FloatArray:
        if name not in self.samples:
            msg = f"{name!r} is not among the quantities of this fit; it has {', '.join(self.samples)}"
            raise InputError(msg)
        return self.samples[name]

    def quantile(self, name: str, q: npt.ArrayLike) -> FloatArray:
        """Return quantiles of one quantity.

        Parameters
        ----------
        name : str
            A key of ``samples``.
        q : array_like
            Probabilities between 0 and 1.

        Returns
        -------
        ndarray
            Shape of ``q``.

        Raises
        ------
        InputError
            If the name is not among the samples.
        """
        return weighted_quantile(self._values(name), q, weights=self.weights)

    def resampled(self, n: int, rng: np.random.Generator | int | None = None) -> dict[str, FloatArray]:
        """Return draws of equal weight.

        Parameters
        ----------
        n : int
            How many.
        rng : Generator, int, optional
            Source of randomness or its seed.

        Returns
        -------
        dict of str to ndarray, shape (n,)
            Draws by name, in random order; a draw of large weight comes more than once.
        """
        pick = self._pick(n, np.random.default_rng(rng))
        return {name: np.asarray(values)[pick] for name, values in self.samples.items()}

    def _pick(self, n: int, rng: np.random.Generator | None = None) -> npt.NDArray[np.intp]:
        """Return indices of ``n`` draws of equal weight; without ``rng`` the same ones each time."""
        start = 0.5 if rng is None else rng.random()
        edges = np.cumsum(self.weights)
        pick = np.searchsorted(edges, (start + np.arange(n)) / n * edges[-1])
        pick = np.minimum(pick, self.weights.size - 1)
        return pick if rng is None else rng.permutation(pick)

    def parameters(self, pick: npt.NDArray[np.intp] | slice = slice(None)) -> dict[str, FloatArray]:
        """Return the samples that decide a model spectrum, for the functions of ``sc_lab.sed.model``.

        Parameters
        ----------
        pick : ndarray of int or slice
            Which draws.

        Returns
        -------
        dict of str to ndarray
            The parameters of the model by name.
        """
        wanted = ("age", "log_mass_formed", "metallicity", "a_v", "log_u", "z")
        return {n: np.asarray(v)[pick] for n, v in self.samples.items() if n in wanted or n.startswith("dsfr")}

    def model_flux(self, q: npt.ArrayLike = _BAND) -> FloatArray:
        """Return quantiles of the model fluxes in the bands.

        Parameters
        ----------
        q : array_like, shape (n_q,)
            Probabilities between 0 and 1.

        Returns
        -------
        ndarray, shape (n_q, n_band)
            In nJy; bands left out of the fit are predicted.
        """
        flux = self.draw_flux
        if flux is None:
            flux = self._exact_flux()
            object.__setattr__(self, "draw_flux", flux)
        q = np.asarray(q, dtype=np.float64)
        columns = [weighted_quantile(flux[:, i], q, weights=self.weights) for i in range(flux.shape[1])]
        return np.stack(columns, axis=-1)

    def _exact_flux(self) -> FloatArray:
        """Return the model fluxes of the draws from the exact model, without tables."""
        from sc_lab.sed.filters import get_filters
        from sc_lab.sed.spectra import model_fluxes

        parameters = self.parameters()
        z = parameters.pop("z", self.z)
        filters = self.filters if self.filters is not None else get_filters(self.bands)
        return np.asarray(model_fluxes(self.model, filters, z, parameters, **self._space()), dtype=np.float64)

    def _space(self) -> dict[str, Any]:
        """Return what the model functions need to know of distance and cosmology."""
        space: dict[str, Any] = {}
        if self.distance is not None:
            space["distance"] = self.distance
        if self.cosmology is not None:
            space["cosmology"] = self.cosmology
        return space

    def spectrum(
        self, q: npt.ArrayLike = _BAND, *, wavelength: npt.ArrayLike | None = None, n: int = 200
    ) -> tuple[FloatArray, FloatArray]:
        """Return quantiles of the model spectrum at each wavelength.

        Parameters
        ----------
        q : array_like, shape (n_q,)
            Probabilities between 0 and 1.
        wavelength : array_like, shape (n_wave,), optional
            Observed wavelengths [micron]; None leaves the choice to the model.
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

        parameters = self.parameters(self._pick(n))
        parameters.pop("z", None)
        wave, flux = model_spectra(self.model, self.z, parameters, wavelength=wavelength, **self._space())
        return wave, _column_quantiles(np.asarray(flux), q)

    def sfh(
        self, q: npt.ArrayLike = _BAND, *, lookback: npt.ArrayLike | None = None, n: int = 500
    ) -> tuple[FloatArray, FloatArray]:
        """Return quantiles of the star-formation rate against look-back time.

        Parameters
        ----------
        q : array_like, shape (n_q,)
            Probabilities between 0 and 1.
        lookback : array_like, shape (n_bin + 1,), optional
            Edges of the bins of look-back time [Myr] over which rates are averaged; None takes
            100 logarithmic bins that hold the posterior, or those of a binned history.
        n : int
            How many draws the band is made of.

        Returns
        -------
        lookback : ndarray, shape (n_bin + 1,)
            Edges, Myr.
        sfr : ndarray, shape (n_q, n_bin)
            Solar masses per year, averaged over the bin.
        """
        from sc_lab.sed._histories import default_edges, mean_rates

        parameters = self.parameters(self._pick(n))
        edges = np.asarray(
            default_edges(self.model, parameters, self.z, self.cosmology) if lookback is None else lookback
        )
        return edges, _column_quantiles(mean_rates(self.model, parameters, edges, self.z, self.cosmology), q)

    def summary(self) -> dict[str, tuple[float, float, float]]:
        """Return median, and distances down to the 16th and up to the 84th percentile, of every quantity.

        Returns
        -------
        dict of str to tuple
            (median, minus, plus).
        """
        out = {}
        for name in self.samples:
            low, middle, high = (float(x) for x in self.quantile(name, _BAND))
            out[name] = (middle, middle - low, high - middle)
        return out

    def record(self) -> dict[str, Any]:
        """Return data, settings and summary as JSON values, without the draws.

        Returns
        -------
        dict
            NaN becomes None.
        """
        return {
            "engine": self.engine,
            "bands": list(self.bands),
            "flux_njy": _numbers(self.flux),
            "flux_err_njy": _numbers(self.flux_err),
            "z": float(self.z),
            "distance_mpc": self.distance,
            "model": self.model.record(),
            "priors": self.priors.record(),
            "error_floor": self.error_floor,
            "shape_err": None if self.shape_err is None else _numbers(self.shape_err),
            "log_evidence": _number(self.log_evidence),
            "ess": _number(self.ess),
            "best": {name: _number(value) for name, value in self.best.items()},
            "best_chi2": _number(self.best_chi2),
            "quantiles": {name: _numbers(self.quantile(name, _BAND)) for name in self.samples},
            "cautions": list(self.cautions),
            **dict(self.meta),
        }

    def with_cautions(self, *sentences: str) -> SedFit:
        """Return the same fit with more cautions.

        Parameters
        ----------
        *sentences : str
            What the user should know.

        Returns
        -------
        SedFit
            A new object that shares the draws.
        """
        return replace(self, cautions=(*self.cautions, *sentences))


class SedFits(Sequence[SedFit]):
    """The posteriors of many sources, in the order of the data.

    Parameters
    ----------
    fits : iterable of SedFit
        One per source.
    """

    def __init__(self, fits: Sequence[SedFit]) -> None:
        self._fits = tuple(fits)

    def __len__(self) -> int:
        return len(self._fits)

    def __iter__(self) -> Iterator[SedFit]:
        return iter(self._fits)

    @overload
    def __getitem__(self, index: int) -> SedFit: ...
    @overload
    def __getitem__(self, index: slice) -> SedFits: ...
    def __getitem__(self, index: int | slice) -> SedFit | SedFits:
        """Return one fit, or those of a slice."""
        return SedFits(self._fits[index]) if isinstance(index, slice) else self._fits[index]

    def __repr__(self) -> str:
        return f"<SedFits of {len(self)} sources>"

    def quantile(self, name: str, q: npt.ArrayLike) -> FloatArray:
        """Return quantiles of one quantity for all sources.

        Parameters
        ----------
        name : str
            A key of the samples.
        q : array_like
            Probabilities between 0 and 1.

        Returns
        -------
        ndarray
            Shape (n_source,) + shape of ``q``.
        """
        q = np.asarray(q, dtype=np.float64)
        return np.stack([fit.quantile(name, q) for fit in self._fits]) if self._fits else np.empty((0, *q.shape))

    def draws(self, name: str, n: int, rng: np.random.Generator | int | None = None) -> FloatArray:
        """Return draws of equal weight of one quantity; the rows of two names belong together for the same seed.

        Parameters
        ----------
        name : str
            A key of the samples.
        n : int
            Draws per source.
        rng : Generator, int, optional
            Source of randomness or its seed.

        Returns
        -------
        ndarray, shape (n_source, n)
            The draws.
        """
        generator = np.random.default_rng(rng)
        rows = [np.asarray(fit._values(name))[fit._pick(n, generator)] for fit in self._fits]  # noqa: SLF001 - same module
        return np.stack(rows) if rows else np.empty((0, n))

    def _column(self, name: str) -> FloatArray:
        return np.array([getattr(fit, name) for fit in self._fits], dtype=np.float64)

    @property
    def z(self) -> FloatArray:
        """Redshifts, shape (n_source,)."""
        return self._column("z")

    @property
    def log_evidence(self) -> FloatArray:
        """Natural logarithms of the evidence, shape (n_source,)."""
        return self._column("log_evidence")

    @property
    def ess(self) -> FloatArray:
        """Effective numbers of draws, shape (n_source,)."""
        return self._column("ess")

    @property
    def best_chi2(self) -> FloatArray:
        """Chi-squared of the best models, shape (n_source,)."""
        return self._column("best_chi2")

    @property
    def cautions(self) -> tuple[tuple[str, ...], ...]:
        """The cautions of each source."""
        return tuple(fit.cautions for fit in self._fits)


def _column_quantiles(values: FloatArray, q: npt.ArrayLike) -> FloatArray:
    """Return quantiles down the columns of draws of equal weight, shape (n_q, n_column)."""
    q = np.asarray(q, dtype=np.float64)
    if not ((q >= 0) & (q <= 1)).all():
        msg = f"q is {q.tolist()}; give probabilities between 0 and 1, for instance [0.16, 0.5, 0.84]"
        raise InputError(msg)
    return np.asarray(np.quantile(values, q, axis=0), dtype=np.float64)


def _number(value: Any) -> float | None:
    value = float(value)
    return value if np.isfinite(value) else None


def _numbers(values: npt.ArrayLike) -> list[float | None]:
    return [_number(value) for value in np.ravel(np.asarray(values, dtype=np.float64))]
