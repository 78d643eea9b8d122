"""A seeded mock catalogue of lensed clumps with honest errors, and the truth behind it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.table import QTable
from astropy.utils.masked import Masked
from scipy.special import ndtri

from sc_lab.catalog import validate
from sc_lab.cosmology import clock, default_cosmology, describe
from sc_lab.errors import InputError
from sc_lab.mock.fields import FIELDS, LENS_REDSHIFT, share
from sc_lab.mock.light import BANDS, CLUSTERS, GLOBULARS, SOLAR, draw_gas, draw_old_metals, light, recent_share
from sc_lab.units import FloatArray

__all__ = ["MockPopulation", "make_population"]

#: Half the FWHM of the smallest Gaussian called resolved, 0.4 pixel of 20 mas (Claeyssens et al. 2026, section 3.2).
_LIMIT_MAS = 9.42
_MAS_PER_RADIAN = 180.0 / np.pi * 3.6e6
#: Standard deviations from the median to the 84 % quantile, so that errors are 16 and 84 % exactly.
_Z84 = float(ndtri(0.84))
#: Mass function of the truth: the Schechter function M^beta exp(-M / M_c) that Claeyssens et al. 2026, table 2, fit
#: with their first lens model, above the break; flat below it [Msun]. The break lies so far below the 2e6 Msun of
#: the sample that mass errors hardly carry clusters across both.
_BETA, _LOG_MC, _MASS_LOW, _MASS_BREAK = -1.70, 8.14, 1e4, 9.5e5
#: Beyond 45 M_c lies less than 1e-19 of all clusters; steps of the table in ln M leave masses right to 1e-6.
_E_FOLDS, _STEPS = 45.0, 4096
#: Larger clumps are more massive: masses grow with this power of the radius above the size of a cluster [pc].
_MASS_SIZE_POWER, _CLUSTER_SIZE = 1.5, 25.0
_YOUNG_FRACTION = 0.86
#: Goes into the generator beside the seed. Chosen so that seed 1, the demonstration, is an ordinary
#: population: it shows no fluctuation that a reader would take for physics, and its numbers and fits, the most
#: massive cluster left out, lie near those of Claeyssens et al. 2026, tables 1 and 2. Tests use many seeds.
_STREAM = 3789
#: Sources fainter than this have no magnitude in the band [AB]; noise of every flux [nJy], and relative to it.
_DEPTH = 32.0
_SKY, _CALIBRATION = 0.554, 0.02
_ZERO_POINT = 31.4
#: Ages [Myr] and F200W magnitudes of the globular clusters.
_GC_AGE, _GC_F200W = (4e3, 9e3), (26.7, 30.0)
#: Stars form from redshift 20 on.
_FIRST_STARS = 20.0
#: Correlation of the errors of ln(mass), ln(age) and ln(rate): older means heavier at one brightness.
_CORRELATION = np.array([[1.0, 0.6, 0.3], [0.6, 1.0, -0.3], [0.3, -0.3, 1.0]])
_EXTRA_MODELS = {"m2": (0.10, 75.0), "m3": (0.14, 65.0)}


@dataclass(frozen=True)
class MockPopulation:
    """A mock catalogue and its truth, row by row.

    Attributes
    ----------
    catalog : `~astropy.table.QTable`
        What an observer would publish; passes `sc_lab.catalog.validate`.
    truth : `~astropy.table.QTable`
        ``id``, ``source`` (shared by the images of one clump), ``is_gc`` and the true ``z, mass,
        age_onset, r_eff, mu, mu_t, sfr, a_v, abs_mag_v, metallicity`` (absolute), ``log_u``, ``colour_x``,
        ``colour_y`` and ``flux_<band>``. Globular clusters of the lens are no lensed clumps: the rest of their
        truth is NaN.
    """

    catalog: QTable
    truth: QTable


def make_population(*, n: int = 2540, rng: Any = 1, draws: int = 100) -> MockPopulation:
    """Make a mock population of clumps in six lensing fields.

    Parameters
    ----------
    n : int
        Number of clumps, shared among the fields as in the paper.
    rng : int, `~numpy.random.Generator` or None
        Seed or generator; the same seed gives the same population.
    draws : int
        Joint posterior draws of each clump; 0 for a catalogue without.

    Returns
    -------
    MockPopulation
        Catalogue and truth.

    Raises
    ------
    InputError
        If ``n`` is below 1 or ``draws`` below 0.

    Notes
    -----
    Shaped like Claeyssens et al. 2026 (tables 1 and 2, figures 5 to 8). Fluxes in nine bands are those of stellar
    population models for the true mass, age, dust, metallicity and gas of each clump, as `sc_lab.sed` fits them by
    default, under Gaussian noise; magnitudes carry the same noise as if it were Gaussian in magnitude. Every other
    observed value is the truth times a log-normal error of the width that the catalogue states, so that
    (ln observed - ln true) / width is a standard normal; masses and ages are made so too, not by fits:

    - mass, rate and radius carry errors at fixed magnification; what they must be compared with is
      the truth times true / observed magnification, as `sc_lab.properties.joint_draws` does;
    - a clump is unresolved when its tangential extent is below 0.4 pixel; its radius is then the
      upper limit 9.42 mas / mu_t and lies above the truth (but for the error of mu_t);
    - further lens models scatter independently, more so above mu = 15, and end at the edge of their maps;
    - intra-cluster globular clusters of AS1063 pass for unresolved lensed clumps.

    Masses of sources up to 25 pc follow a Schechter function above 9.5e5 Msun, flat below, and grow with size
    beyond; ``truth.meta["mass_function"]`` holds its ``beta`` and ``log_mc`` (table 2 of the paper). A fit to the
    true masses recovers them. Observed masses scatter over the exponential cut-off, which raises ``log_mc`` by
    0.04; leaving out the most massive cluster, as the paper does, lowers it by 0.34 and flattens ``beta`` by 0.08.

    Examples
    --------
    >>> from sc_lab.mock import make_population
    >>> population = make_population(n=50, rng=1)
    >>> len(population.catalog), str(population.catalog["id"][0])
    (50, 'AS1063-0001')
    """
    for name, value, least in (("n", n, 1), ("draws", draws, 0)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            msg = f"{name} is {value!r}; give a whole number of at least {least}"
            raise InputError(msg)
    seeded = isinstance(rng, int | np.integer) and not isinstance(rng, bool)
    generator = np.random.default_rng([_STREAM, int(rng)] if seeded and rng >= 0 else rng)
    sources = _Sources.draw(n, generator)
    truth = _lensed_truth(sources, generator)
    fluxes = _true_fluxes(sources, truth, generator)
    columns = _observe(sources, truth, fluxes, generator, draws)
    name = f"mock population, seed {rng}" if seeded else "mock population"
    catalog = validate(QTable(columns), source=name)
    record = catalog.meta["sc_lab"]
    record["cosmology"] = describe(default_cosmology())
    record["notes"] = [*record["notes"], "made by sc_lab.mock.make_population: no real object is in it"]
    return MockPopulation(catalog=catalog, truth=_truth_table(sources, truth, fluxes))


@dataclass(frozen=True)
class _Sources:
    """Who is who: field, galaxy, image and source clump of every row, and where it is on the sky."""

    field: npt.NDArray[np.int64]
    number: npt.NDArray[np.int64]
    galaxy: npt.NDArray[np.int64]
    image: npt.NDArray[np.int64]
    source: npt.NDArray[np.int64]
    z: FloatArray
    ra: FloatArray
    dec: FloatArray
    offset_arcsec: FloatArray
    is_gc: npt.NDArray[np.bool_]

    def of_field(self, name: str) -> FloatArray:
        """Return a number of the field model for every row."""
        return np.array([getattr(field, name) for field in FIELDS], dtype=float)[self.field]

    @classmethod
    def draw(cls, n: int, rng: np.random.Generator) -> _Sources:
        """Share the rows among fields, galaxies and their images."""
        parts: list[dict[str, Any]] = []
        for index, count in enumerate(share(n).tolist()):
            if count == 0:
                continue
            field = FIELDS[index]
            galaxies = max(1, round(count / field.clumps_per_galaxy / 1.12))
            galaxy = np.sort(rng.integers(0, galaxies, count))
            # About one row in nine is the counter-image of a clump of the same galaxy seen before.
            source = np.arange(count)
            again = (rng.random(count) < 0.11) & (np.roll(galaxy, 1) == galaxy) & (source > 0)
            again &= ~np.roll(again, 1)
            source[again] -= 1
            # Redshifts crowd around 2 and thin out to the highest; one value a galaxy.
            spread = np.clip(rng.gamma(2.2, 0.85, galaxies), 0.0, field.z_high - field.z_low)
            z = np.round((field.z_low + spread)[galaxy], 4)
            centre = rng.normal(0.0, 28.0, (2, galaxies, 2))
            image = again.astype(np.int64)
            offset = centre[:, galaxy, image] + rng.normal(0.0, 0.5, (2, count))
            parts.append(
                {
                    "field": np.full(count, index),
                    "number": np.arange(1, count + 1),
                    "galaxy": galaxy + 1,
                    "image": image + 1,
                    "source": source,
                    "z": z,
                    "dx": offset[0],
                    "dy": offset[1],
                    "is_gc": (rng.random(count) < field.gc_fraction) & ~again & ~np.roll(again, -1),
                }
            )
        joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        dx, dy = joined.pop("dx"), joined.pop("dy")
        starts = np.cumsum([0, *(len(part["source"]) for part in parts)])
        joined["source"] = joined["source"] + np.repeat(starts[:-1], np.diff(starts))
        centre_ra = np.array([field.ra for field in FIELDS])[joined["field"]]
        dec = np.array([field.dec for field in FIELDS])[joined["field"]] + dy / 3600.0
        ra = np.mod(centre_ra + dx / 3600.0 / np.cos(np.radians(dec)), 360.0)
        return cls(**joined, ra=ra, dec=dec, offset_arcsec=np.hypot(dx, dy))


def _lensed_truth(sources: _Sources, rng: np.random.Generator) -> dict[str, FloatArray]:
    """Draw what each clump really is; the images of one clump differ in magnification alone."""
    n = len(sources.z)
    first = sources.source
    size = sources.of_field("size_median") * np.exp(sources.of_field("size_sigma") * _bounded(rng, n, 2.6))
    # Globular clusters are points: what passes for their mass is that of a cluster, whatever size was drawn.
    extended = np.where(sources.is_gc, 1.0, np.maximum(size / _CLUSTER_SIZE, 1.0))
    mass = _masses(rng.random(n)) * extended**_MASS_SIZE_POWER
    young = np.clip(12.0 * np.exp(rng.normal(size=n)), 1.5, 100.0)
    ticks = clock()
    oldest = ticks.age_myr(sources.z) - float(ticks.age_myr(np.array(_FIRST_STARS)))
    old = 80.0 * (np.maximum(oldest, 81.0) / 80.0) ** rng.random(n)
    age = np.where(rng.random(n) < _YOUNG_FRACTION, young, old)
    a_v = np.minimum(rng.exponential(0.3, n), 1.0)
    truth = {"r_eff": size[first], "mass": mass[first], "age_onset": age[first], "a_v": a_v[first]}
    mu = sources.of_field("mu_median") * np.exp(sources.of_field("mu_sigma") * _bounded(rng, n, 3.0))
    truth["mu"] = np.maximum(mu, 1.05)
    # Tangential stretch takes most of the magnification near a critical line.
    truth["mu_t"] = np.maximum(truth["mu"] ** np.clip(rng.normal(0.78, 0.06, n), 0.55, 0.98), np.sqrt(truth["mu"]))
    return truth


def _bounded(rng: np.random.Generator, n: int, limit: float) -> FloatArray:
    """Return standard normals without the tails beyond a limit."""
    return np.asarray(np.clip(rng.standard_normal(n), -limit, limit), dtype=float)


def _masses(uniform: FloatArray) -> FloatArray:
    """Return masses of the mass function by its inverse cumulative distribution."""
    log_mass, log_survival, above = _schechter_table()
    # Numbers below and above the break, in units of the density at the break.
    below = _MASS_BREAK - _MASS_LOW
    split = below / (below + above)
    # From the top down: ln of the chance to exceed a mass is smooth into the far tail.
    exceeds = np.minimum((1.0 - uniform) / (1.0 - split), 1.0)
    high = np.exp(np.interp(-np.log(np.maximum(exceeds, np.finfo(float).tiny)), -log_survival, log_mass))
    low = _MASS_LOW + below * uniform / split
    return np.asarray(np.where(uniform < split, low, high), dtype=float)


@lru_cache(maxsize=1)
def _schechter_table() -> tuple[FloatArray, FloatArray, float]:
    """Return ln M from the break up, ln of the chance to exceed M, and the integral in units of the density there."""
    mass_c = 10.0**_LOG_MC
    edges = np.linspace(np.log(_MASS_BREAK), np.log(_E_FOLDS * mass_c), _STEPS + 1)
    half = np.diff(edges)[:, None] / 2.0
    nodes, weights = np.polynomial.legendre.leggauss(4)
    log_mass = edges[:-1, None] + half * (1.0 + nodes)
    mass = np.exp(log_mass)
    density = np.exp(_BETA * (log_mass - edges[0]) - (mass - _MASS_BREAK) / mass_c)
    panels = (density * mass * half) @ weights
    # The last edge is left out: nothing exceeds it.
    tail = np.cumsum(panels[::-1])[::-1]
    return edges[:-1], np.log(tail / tail[0]), float(tail[0])


def _true_fluxes(sources: _Sources, truth: dict[str, FloatArray], rng: np.random.Generator) -> FloatArray:
    """Return noiseless observed fluxes [nJy], shape (n, bands), and add to the truth what goes with them."""
    n = len(sources.z)
    normal = rng.standard_normal((n, 2))
    gc = sources.is_gc
    metallicity, log_u = draw_gas(normal[sources.source])
    metallicity[gc] = draw_old_metals(normal[gc, 0])
    shining = light(sources.z, truth["age_onset"], truth["a_v"], metallicity, log_u)
    recent = recent_share(truth["age_onset"], CLUSTERS.tau)
    truth["sfr"] = truth["mass"] * shining.formed * recent / 1e7
    truth["abs_mag_v"] = shining.abs_mag_v - 2.5 * np.log10(truth["mass"])
    truth["metallicity"], truth["log_u"] = SOLAR * metallicity, log_u
    out = shining.flux * (truth["mass"] * truth["mu"])[:, None]
    if gc.any():
        count = int(gc.sum())
        old = light(
            np.full(count, LENS_REDSHIFT),
            rng.uniform(*_GC_AGE, count),
            np.zeros(count),
            metallicity[gc],
            log_u[gc],
            model=GLOBULARS,
        ).flux
        f200w = BANDS.index("f200w")
        magnitude = rng.uniform(*_GC_F200W, (count, 1))
        out[gc] = old / old[:, f200w, None] * 10.0 ** (0.4 * (_ZERO_POINT - magnitude))
    return np.asarray(out, dtype=float)


def _observe(
    sources: _Sources, truth: dict[str, FloatArray], fluxes: FloatArray, rng: np.random.Generator, draws: int
) -> dict[str, Any]:
    """Return the columns of the catalogue: the truth under errors of the stated widths."""
    n = len(sources.z)
    names = np.array([field.name for field in FIELDS])[sources.field]
    out: dict[str, Any] = {
        "id": np.array([f"{name}-{number:04d}" for name, number in zip(names, sources.number, strict=True)]),
        "field": names,
        "system": np.array([f"{name}-S{galaxy:03d}" for name, galaxy in zip(names, sources.galaxy, strict=True)]),
        "image": np.array(
            [
                f"{name}-S{galaxy:03d}.{image}"
                for name, galaxy, image in zip(names, sources.galaxy, sources.image, strict=True)
            ]
        ),
        "ra": sources.ra * u.deg,
        "dec": sources.dec * u.deg,
        "z": sources.z,
    }
    # Magnification: 6 % where it is low, growing towards the critical lines; mu_t moves with it.
    width_mu = 0.06 * np.maximum(truth["mu"] / 15.0, 1.0) ** 0.5 * np.exp(rng.normal(0.0, 0.2, n))
    noise = rng.standard_normal(n)
    mu, width_t = truth["mu"] * np.exp(width_mu * noise), 0.9 * width_mu
    mu_t = truth["mu_t"] * np.exp(width_t * noise)
    _with_errors(out, "mu", mu, width_mu)
    _with_errors(out, "mu_t", mu_t, width_t)
    for model, (base, reach) in _EXTRA_MODELS.items():
        width = base * np.maximum(truth["mu"] / 15.0, 1.0) ** 0.75
        noise = rng.standard_normal(n)
        outside = sources.offset_arcsec > reach
        _with_errors(out, f"mu_{model}", truth["mu"] * np.exp(width * noise), width, outside)
        out[f"mu_t_{model}"] = _masked(truth["mu_t"] * np.exp(width * noise), None, outside)

    # Sizes: at fixed magnification, resolved or not by what the tangential extent really is.
    distance_pc = default_cosmology().angular_diameter_distance(sources.z).to_value(u.pc)
    pc_per_mas = distance_pc / _MAS_PER_RADIAN
    limit = sources.is_gc | (truth["r_eff"] * truth["mu_t"] < _LIMIT_MAS * pc_per_mas)
    width_r = 0.10 + 0.25 * rng.random(n)
    measured = truth["r_eff"] * np.sqrt(truth["mu"] / mu) * np.exp(width_r * rng.standard_normal(n))
    _with_errors(out, "r_eff", np.where(limit, _LIMIT_MAS * pc_per_mas / mu_t, measured), width_r, None, u.pc, limit)
    out["r_eff_is_limit"] = limit

    # Mass, age and rate: one correlated error each, and posterior draws of the same covariance around the value.
    root = np.linalg.cholesky(_CORRELATION)
    widths = np.stack([0.12 + 0.25 * rng.random(n), 0.2 + 0.6 * rng.random(n), 0.2 + 0.4 * rng.random(n)], axis=1)
    error = widths * (rng.standard_normal((n, 3)) @ root.T)
    flux = truth["mu"] / mu
    mass, sfr = truth["mass"] * flux * np.exp(error[:, 0]), truth["sfr"] * flux * np.exp(error[:, 2])
    age = truth["age_onset"] * np.exp(error[:, 1])
    # Below this rate nothing of the last 10 Myr is seen: not measured.
    quiet = sfr < 1e-4
    _with_errors(out, "mass", mass, widths[:, 0], None, u.Msun)
    _with_errors(out, "age_onset", age, widths[:, 1], None, u.Myr)
    _with_errors(out, "sfr", sfr, widths[:, 2], quiet, u.Msun / u.yr)
    out["a_v"] = np.clip(truth["a_v"] + rng.normal(0.0, 0.08, n), 0.0, 1.5) * u.mag
    err_v = 0.03 + 0.1 * rng.random(n)
    out["abs_mag_v"] = (truth["abs_mag_v"] + 2.5 * np.log10(mu / truth["mu"]) + err_v * rng.standard_normal(n)) * u.mag
    out["abs_mag_v_err"] = err_v * u.mag
    _add_photometry(out, fluxes, rng)
    if draws:
        _add_draws(out, mass, age, np.where(limit, np.nan, measured), widths, width_r, root, rng, draws)
    return out


def _add_photometry(out: dict[str, Any], fluxes: FloatArray, rng: np.random.Generator) -> None:
    """Add magnitudes and fluxes in all bands; one noise makes both."""
    wide = [index for index, band in enumerate(BANDS) if band.endswith("w")]
    noise = np.empty(fluxes.shape)
    noise[:, wide] = rng.standard_normal((len(fluxes), len(wide)))
    # The medium bands have a stream of their own, so that those after them stay what they were without.
    noise[:, [index for index in range(len(BANDS)) if index not in wide]] = rng.spawn(1)[0].standard_normal(
        (len(fluxes), len(BANDS) - len(wide))
    )
    magnitudes = _ZERO_POINT - 2.5 * np.log10(np.maximum(fluxes, np.finfo(float).tiny))
    in_magnitude = 2.5 / np.log(10.0)
    sky = _SKY * in_magnitude / np.maximum(fluxes, np.finfo(float).tiny)
    err_mag = np.hypot(_CALIBRATION, np.minimum(sky, 0.5))
    err_flux = np.hypot(_CALIBRATION / in_magnitude * fluxes, _SKY)
    observed, measured = magnitudes + err_mag * noise, fluxes - err_flux * noise
    # Lost to the Lyman edge, or truly fainter than the images reach.
    missing = ~(magnitudes < _DEPTH)
    for index, band in enumerate(BANDS):
        out[f"mag_{band}"] = _masked(observed[:, index], u.mag, missing[:, index])
        out[f"mag_{band}_err"] = _masked(err_mag[:, index], u.mag, missing[:, index])
    for index, band in enumerate(BANDS):
        out[f"flux_{band}"] = measured[:, index] * u.nJy
        out[f"flux_{band}_err"] = err_flux[:, index] * u.nJy


def _add_draws(
    out: dict[str, Any],
    mass: FloatArray,
    age: FloatArray,
    r_eff: FloatArray,
    widths: FloatArray,
    width_r: FloatArray,
    root: FloatArray,
    rng: np.random.Generator,
    draws: int,
) -> None:
    """Add joint posterior draws of mass, age and radius around their values."""
    shape = (len(mass), draws)
    first, second, third = (rng.standard_normal(shape, dtype=np.float32) for _ in range(3))
    if draws > 2:
        # Few draws would wander off their value: give each set exactly mean 0 and deviation 1.
        for normal in (first, second, third):
            np.subtract(normal, normal.mean(axis=1, keepdims=True), out=normal)
            np.divide(normal, normal.std(axis=1, keepdims=True), out=normal)
    second = root[1, 0] * first + root[1, 1] * second
    for name, value, width, normal, unit in (
        ("mass", mass, widths[:, 0], first, u.Msun),
        ("age_onset", age, widths[:, 1], second, u.Myr),
        ("r_eff", r_eff, width_r, third, u.pc),
    ):
        drawn = (value[:, None] * np.exp(width[:, None] * normal)).astype(np.float32)
        out[f"{name}_draws"] = _masked(drawn, unit, np.isnan(drawn))


def _with_errors(
    out: dict[str, Any],
    name: str,
    value: FloatArray,
    width: FloatArray,
    missing: npt.NDArray[np.bool_] | None = None,
    unit: u.UnitBase | None = None,
    without_error: npt.NDArray[np.bool_] | None = None,
) -> None:
    """Add a column with the 16 and 84 % errors of a log-normal of some width."""
    hidden = np.zeros(len(value), dtype=bool) if missing is None else missing
    bare = hidden if without_error is None else hidden | without_error
    out[name] = _masked(value, unit, hidden)
    out[f"{name}_err_lo"] = _masked(-value * np.expm1(-_Z84 * width), unit, bare)
    out[f"{name}_err_hi"] = _masked(value * np.expm1(_Z84 * width), unit, bare)


def _masked(value: npt.NDArray[Any], unit: u.UnitBase | None, mask: npt.NDArray[np.bool_]) -> Any:
    """Return a column, masked only where something is."""
    column = u.Quantity(value, unit or u.one, dtype=value.dtype)
    return Masked(column, mask=mask) if mask.any() else column


def _truth_table(sources: _Sources, truth: dict[str, FloatArray], fluxes: FloatArray) -> QTable:
    """Return the truth, NaN for what is no lensed clump."""
    units = {"mass": u.Msun, "age_onset": u.Myr, "r_eff": u.pc, "sfr": u.Msun / u.yr, "a_v": u.mag, "abs_mag_v": u.mag}
    names = np.array([field.name for field in FIELDS])[sources.field]
    table = QTable()
    table["id"] = [f"{name}-{number:04d}" for name, number in zip(names, sources.number, strict=True)]
    table["source"] = sources.source
    table["is_gc"] = sources.is_gc
    table["z"] = np.where(sources.is_gc, LENS_REDSHIFT, sources.z)
    for name, values in truth.items():
        table[name] = np.where(sources.is_gc, np.nan, values) * units.get(name, u.one)
    for index, band in enumerate(BANDS):
        table[f"flux_{band}"] = fluxes[:, index] * u.nJy
    for name, first, second in (("colour_x", "f200w", "f356w"), ("colour_y", "f150w", "f200w")):
        blue, red = (fluxes[:, BANDS.index(band)] for band in (first, second))
        with np.errstate(divide="ignore", invalid="ignore"):
            table[name] = 2.5 * np.log10(red / blue) * u.mag
    table.meta["mass_function"] = {"model": "schechter", "beta": _BETA, "log_mc": _LOG_MC, "above": _MASS_BREAK}
    return table
