"""From fits to a catalogue: de-lensed sizes, magnitudes and provisional masses in registry columns, row by row."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.table import QTable, Table

from sc_lab import catalog as catalogs
from sc_lab.catalog.columns import COLUMNS, find_column
from sc_lab.catalog.comparison import same_rows
from sc_lab.clumps.light import provisional
from sc_lab.clumps.measured import Measured
from sc_lab.clumps.sed_columns import DRAWN, PROPERTIES, magnified
from sc_lab.clumps.sed_fits import fit_seds
from sc_lab.units import FloatArray, value_in

if TYPE_CHECKING:
    from sc_lab.clumps.observation import Observation

__all__ = ["assemble"]

_MAG = 2.5 / np.log(10.0)
_MAS = np.radians(1.0 / 3.6e6)
#: Below this many sigma a flux is no detection and its magnitude a limit.
_DETECTED = 3.0
#: Columns of the fits that number groups and so change without any change of a clump.
_BOOKKEEPING = ("group",)
_TEXTS = ("id", "field", "system", "image", "galaxy", "provenance", "size_class", "photometry_flags", "lens_flags")


def assemble(
    observation: Observation,
    clumps: Table,
    fits: QTable,
    *,
    previous: Measured | None = None,
    progress: Callable[[int, int], object] | None = None,
    cancel: Any = None,
) -> Measured:
    """Return the catalogue of fitted clumps.

    Parameters
    ----------
    observation : Observation
        Galaxies, lens models and settings.
    clumps : Table
        The list: id, ra, dec, and optionally galaxy and provenance.
    fits : QTable
        What `sc_lab.photometry.fit_clumps` gave for it.
    previous : Measured, optional
        An earlier measurement on the same observation; rows whose fit, place, galaxy and provenance are the
        same are taken over.
    progress : callable, optional
        Called as ``progress(done, total)`` while SEDs are fitted.
    cancel : object, optional
        With ``is_set()``; ends the fits.

    Returns
    -------
    Measured
        The catalogue.
    """
    n = len(clumps)
    texts = {name: _texts(clumps, name, "auto" if name == "provenance" else "") for name in ("galaxy", "provenance")}
    ids = np.array([str(name) for name in clumps["id"].tolist()], dtype=np.str_)
    old = np.full(n, -1)
    before = None if previous is None else previous.observation
    if previous is not None and previous.fits is not None and before is not None and before.agrees_with(observation):
        old = same_rows(previous.fits, fits, columns=_comparable(fits))
        known = old >= 0
        for name, values in texts.items():
            known &= previous.columns[name][np.maximum(old, 0)] == values
        if before is not observation:
            known &= _same_galaxies(before, observation, texts["galaxy"])
        old = np.where(known, old, -1)
    new = np.flatnonzero(old < 0)
    new_texts = {name: values[new] for name, values in texts.items()}
    fresh = _columns(observation, fits[new], ids[new], new_texts, progress=progress, cancel=cancel)
    columns = fresh if previous is None or len(new) == n else _merged(previous, fresh, old, new, n)
    return Measured(
        columns=dict(sorted(columns.items(), key=lambda item: _rank(item[0]))),
        fits=fits,
        refitted=tuple(ids[new].tolist()),
        observation=observation,
        meta=observation.about(),
    )


# ---------------------------------------------------------------------- taking over


def _comparable(fits: QTable) -> list[str]:
    """Return the columns of the fits that belong to a clump alone."""
    return [name for name in fits.colnames if name not in _BOOKKEEPING and fits[name].dtype.kind in "biufU"]


def _same_galaxies(before: Any, now: Any, names: npt.NDArray[np.str_]) -> npt.NDArray[np.bool_]:
    """Return where the galaxy of a clump says the same in two observations; contours do not matter."""

    def said(observation: Any) -> dict[str, tuple[Any, ...]]:
        return {each.id: (repr(each.z), each.system, each.image) for each in observation.galaxy_list}

    first, second = said(before), said(now)
    same = {name: first.get(name) == second.get(name) for name in set(names.tolist())}
    return np.array([same[name] for name in names.tolist()], dtype=bool)


def _merged(
    previous: Measured,
    fresh: dict[str, npt.NDArray[Any]],
    old: npt.NDArray[np.intp],
    new: npt.NDArray[np.intp],
    n: int,
) -> dict[str, npt.NDArray[Any]]:
    """Return columns with some rows from an earlier measurement and some new."""
    out: dict[str, npt.NDArray[Any]] = {}
    kept = np.flatnonzero(old >= 0)
    for name in dict.fromkeys([*previous.columns, *fresh]):
        parts = [columns[name] for columns in (previous.columns, fresh) if name in columns]
        kind, shape = np.result_type(*parts), (n, *parts[-1].shape[1:])
        values = np.full(shape, np.nan) if kind.kind == "f" else np.zeros(shape, dtype=kind)
        if name in previous.columns:
            values[kept] = previous.columns[name][old[kept]]
        if name in fresh:
            values[new] = fresh[name]
        out[name] = values
    return out


def _rank(name: str) -> int:
    """Return where a column stands in a catalogue."""
    return _ORDER.get(name, len(_ORDER))


_ORDER = {name: place for place, name in enumerate(COLUMNS)}


# ---------------------------------------------------------------------- one set of rows


def _columns(
    observation: Observation,
    fits: QTable,
    ids: npt.NDArray[np.str_],
    texts: dict[str, npt.NDArray[np.str_]],
    *,
    progress: Callable[[int, int], object] | None = None,
    cancel: Any = None,
) -> dict[str, npt.NDArray[Any]]:
    """Return every catalogue column of some clumps."""
    homes = {each.id: each for each in observation.galaxy_list}
    mine = [homes.get(name) for name in texts["galaxy"].tolist()]
    z = np.array([np.nan if home is None else float(home.z) for home in mine])
    out: dict[str, npt.NDArray[Any]] = {
        "id": ids,
        "field": np.array([str(getattr(observation.field, "name", "") or "")] * len(ids), dtype=np.str_),
        "system": np.array(["" if home is None else str(home.system) for home in mine], dtype=np.str_),
        "image": np.array(["" if home is None else str(home.image) for home in mine], dtype=np.str_),
        "galaxy": texts["galaxy"],
        "provenance": texts["provenance"],
        "z": z,
    }
    for name in ("ra", "dec", "ra_start", "dec_start"):
        out[name] = value_in(fits[name], u.deg, name)
    # Where the fit found no place, the one that was given is all there is.
    for name in ("ra", "dec"):
        out[name] = np.where(np.isfinite(out[name]), out[name], out[f"{name}_start"])
    out["ra"] %= 360.0
    out |= _delensed(observation, fits, z)
    out |= _photometry(observation, fits)
    fluxes = {name: (out[f"flux_{name.lower()}"], out[f"flux_{name.lower()}_err"]) for name in observation.band_names}
    light = provisional(fluxes, z, out["mu"], age=observation.age, cosmology=observation.cosmology)
    for name in ("mass", "mass_err_lo", "mass_err_hi", "abs_mag_v", "abs_mag_v_err"):
        out[name] = getattr(light, name)
    for side in ("", "_err_lo", "_err_hi"):
        out[f"age_onset{side}"] = getattr(light, f"age{side}")
    out["mass_is_provisional"] = np.isfinite(light.mass)
    given = _given(ids, observation.properties)
    if observation.sed is not None:
        seds = fit_seds(
            ids.tolist(),
            fluxes,
            # What is said elsewhere is not fitted: without a redshift there is no fit.
            np.where(given, np.nan, z),
            settings=observation.sed,
            own=observation.sed_own,
            shape_err=out["flux_shape_err"],
            cosmology=observation.cosmology,
            progress=progress,
            cancel=cancel,
        )
        seds["sed_flags"] = np.where(given, "", seds["sed_flags"])
        join_seds(out, seds)
    _join_properties(out, observation.properties)
    return out


def join_seds(out: dict[str, npt.NDArray[Any]], seds: dict[str, npt.NDArray[Any]]) -> None:
    """Put what SED fits say in place of what is provisional, clump by clump.

    Parameters
    ----------
    out : dict of ndarray
        Catalogue columns with ``mu`` and ``mass_is_provisional``; changed in place.
    seds : dict of ndarray
        What `sc_lab.clumps.sed_fits.fit_seds` gave.
    """
    fitted = np.isfinite(seds["sed_chi2"])
    for name, values in magnified(seds, out["mu"]).items():
        if values.dtype.kind == "O":
            out[name] = values.astype(np.str_)
        elif name in out:
            out[name] = np.where(fitted, values, out[name])
        else:
            out[name] = values
    out["mass_is_provisional"] = out["mass_is_provisional"] & ~fitted


def _given(ids: npt.NDArray[np.str_], properties: Table | None) -> npt.NDArray[np.bool_]:
    """Return which clumps have their mass from elsewhere."""
    if properties is None or "mass" not in properties.colnames:
        return np.zeros(len(ids), dtype=bool)
    return np.isin(ids, np.array([str(name) for name in properties["id"].tolist()]))


def _delensed(observation: Observation, fits: QTable, z: FloatArray) -> dict[str, npt.NDArray[Any]]:
    """Return magnifications, and sizes in parsec with their errors at fixed magnification."""
    kind = np.array(fits["size_class"]).astype(np.str_)
    observed, observed_err = value_in(fits["r_eff_obs"], u.mas, "r"), value_in(fits["r_eff_obs_err"], u.mas, "r")
    limit = kind == "unresolved"
    observed = np.where(limit, value_in(fits["r_eff_obs_limit"], u.mas, "r"), observed)
    observed = np.where(observed > 0, observed, np.nan)
    out: dict[str, npt.NDArray[Any]] = {"size_class": kind, "r_eff_obs": observed}
    out["r_eff_obs_err"] = np.where(limit, np.nan, observed_err)
    out |= _magnified(observation, fits, z)
    mu, mu_t = out["mu"], out["mu_t"]
    with np.errstate(invalid="ignore", divide="ignore"):
        # Inside the radial critical curve the image is stretched radially: the longer side tells the size.
        stretch = np.fmax(mu_t, mu / mu_t)
        size = (
            observed * np.where(kind == "resolved", 1.0 / np.sqrt(mu), 1.0 / stretch) * _parsec_per_mas(observation, z)
        )
        # The magnification has errors of its own: the analysis draws it anew, together with mass and size.
        error = np.where(limit, np.nan, size * observed_err / observed)
    # Without a redshift or a magnification an angular limit says nothing in parsec: no size, rather than a limit
    # without a number, which would count as a candidate.
    out["r_eff_is_limit"] = limit & np.isfinite(size)
    return out | {"r_eff": size, "r_eff_err_lo": error, "r_eff_err_hi": error.copy()}


def _magnified(observation: Observation, fits: QTable, z: FloatArray) -> dict[str, npt.NDArray[Any]]:
    """Return the magnifications of every lens model, the reference first, and what they point out.

    With realisations of a model their medians stand in the catalogue; without, the draws are one guess of a
    width, whose median is noise: then the model itself stands there.
    """
    n, models = len(fits), observation.lens_models
    if not models or not n:
        # Nothing is magnified where nobody has put a lens.
        return {"mu": np.ones(n), "mu_t": np.ones(n), "lens_flags": np.array([""] * n, dtype=np.str_)}
    from sc_lab.lensing import LensFlag, delens

    found = delens(
        fits[["id", "ra", "dec", "cov_xx", "cov_yy", "cov_xy"]],
        models,
        z,
        n_draws=observation.n_draws,
        rng=observation.seed,
        pixel_to_sky=_pixel_to_sky(observation, fits),
        cosmology=observation.cosmology,
    )
    out: dict[str, npt.NDArray[Any]] = {}
    suffixes = ["", *(f"_{name}" for name in found.meta["lensing"]["models"][1:])]
    for base in ("mu", "mu_t"):
        for name in [f"{base}{suffix}{side}" for suffix in suffixes for side in ("", "_err_lo", "_err_hi")]:
            if name in found.colnames:
                out[name] = _number(found[name]) if "_err" in name else _positive(found[name])
    flags = np.asarray(found["lens_flags"], dtype=np.int64)
    guessed = flags & int(LensFlag.GRADIENT_ERROR) > 0
    for name in ("mu", "mu_t"):
        best = np.abs(_number(found[f"best_{name}"]))
        with np.errstate(invalid="ignore", divide="ignore"):
            factor = np.where(guessed, best / out[name], 1.0)
        for side in ("", "_err_lo", "_err_hi"):
            out[f"{name}{side}"] = out[f"{name}{side}"] * factor
    out["lens_flags"] = np.array([_names(LensFlag, value) for value in flags.tolist()], dtype=np.str_)
    return out


def _parsec_per_mas(observation: Observation, z: FloatArray) -> FloatArray:
    """Return the length of a milliarcsecond, worked out once for each galaxy's redshift."""
    out = np.full(z.shape, np.nan)
    for each in np.unique(z[z > 0]).tolist():
        out[z == each] = observation.cosmology.angular_diameter_distance(each).to_value(u.pc) * _MAS
    return out


def _photometry(observation: Observation, fits: QTable) -> dict[str, npt.NDArray[Any]]:
    """Return fluxes, magnitudes with limits, and what the fit points out."""
    from sc_lab.photometry import PhotometryFlag

    out: dict[str, npt.NDArray[Any]] = {
        "snr": _number(fits["snr"]),
        "flux_shape_err": np.abs(_number(fits["flux_shape_err"])),
        "photometry_flags": np.array(
            [_names(PhotometryFlag, value) for value in np.array(fits["flags"]).tolist()], dtype=np.str_
        ),
    }
    for band in observation.band_names:
        name = band.lower()
        given = f"flux_{name}" in fits.colnames
        flux, error = (
            value_in(fits[f"flux_{name}{end}"], u.nJy, "flux") if given else np.full(len(fits), np.nan)
            for end in ("", "_err")
        )
        flux, error = np.where(np.isfinite(flux), flux, np.nan), np.where(error >= 0, error, np.nan)
        with np.errstate(invalid="ignore", divide="ignore"):
            seen = flux > _DETECTED * error
            faint = ~seen & np.isfinite(flux) & (error > 0)
            out[f"mag_{name}"] = 31.4 - 2.5 * np.log10(np.where(seen, flux, np.where(faint, _DETECTED * error, np.nan)))
            out[f"mag_{name}_err"] = np.where(seen, _MAG * error / flux, np.nan)
        out[f"mag_{name}_is_limit"] = faint
        out[f"flux_{name}"], out[f"flux_{name}_err"] = flux, error
    return out


def _join_properties(out: dict[str, npt.NDArray[Any]], properties: Table | None) -> None:
    """Put what SED fits or a truth say in place of what is provisional, clump by clump."""
    if properties is None:
        return
    table = catalogs.validate(properties) if "z" in properties.colnames else properties
    index = {str(name): row for row, name in enumerate(table["id"].tolist())}
    rows = np.array([index.get(name, -1) for name in out["id"].tolist()])
    here, there = np.flatnonzero(rows >= 0), rows[rows >= 0]
    n = len(rows)
    for base in PROPERTIES:
        if base not in table.colnames:
            continue
        for name in (base, f"{base}_err_lo", f"{base}_err_hi", f"{base}_err"):
            if find_column(name) is None:
                continue
            column = out.setdefault(name, np.full(n, np.nan))
            column[here] = catalogs.values(table, name)[there]
        name = f"{base}_draws"
        if base in DRAWN and (name in out or name in table.colnames):
            draws = catalogs.values(table, name)[there]
            depth = out[name].shape[1] if name in out else draws.shape[1]
            draws = draws[:, np.arange(depth) * draws.shape[1] // depth] if draws.ndim == 2 else np.nan
            out.setdefault(name, np.full((n, depth), np.nan))[here] = draws
        if base == "mass":
            out["mass_is_provisional"][here] = False


def _pixel_to_sky(observation: Observation, fits: QTable) -> FloatArray:
    """Return matrices from offsets in pixels of the reference band to offsets West and North [arcsec]."""
    settings = fits.meta.get("photometry", {}).get("settings", {})
    band = observation.field[str(settings.get("reference", observation.reference_band))]
    x, y = _number(fits["x"]), _number(fits["y"])
    lost = ~(np.isfinite(x) & np.isfinite(y))
    x, y = np.where(lost, 0.0, x), np.where(lost, 0.0, y)
    ra, dec = (np.asarray(each, dtype=float) for each in band.to_sky(np.stack([x, x + 1, x]), np.stack([y, y, y + 1])))
    west = -((ra - ra[0] + 180.0) % 360.0 - 180.0) * np.cos(np.radians(dec[0])) * 3600.0
    north = (dec - dec[0]) * 3600.0
    return np.stack([np.stack([west[1], west[2]], axis=-1), np.stack([north[1], north[2]], axis=-1)], axis=-2)


def _texts(table: Table, name: str, otherwise: str) -> npt.NDArray[np.str_]:
    """Return a column of text, or the same text for every row."""
    if name not in table.colnames:
        return np.array([otherwise] * len(table), dtype=np.str_)
    return np.array([str(value) or otherwise for value in table[name].tolist()], dtype=np.str_)


def _number(column: Any) -> FloatArray:
    """Return a column as numbers, NaN where masked or infinite."""
    bare = getattr(column, "unmasked", column)
    values = np.array(np.ma.getdata(getattr(bare, "value", bare)), dtype=float)
    mask = getattr(column, "mask", None)
    if mask is not None:
        values[np.broadcast_to(np.asarray(mask, dtype=bool), values.shape)] = np.nan
    values[~np.isfinite(values)] = np.nan
    return values


def _positive(column: Any) -> FloatArray:
    """Return a column as numbers above zero, NaN elsewhere."""
    values = _number(column)
    with np.errstate(invalid="ignore"):
        return np.where(values > 0, values, np.nan)


def _names(flags: Any, value: int) -> str:
    """Return the names of the bits that are set, in the order of their values."""
    return ",".join(str(each.name) for each in flags if each.value and each.value & int(value))
