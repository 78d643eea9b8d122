"""SEDs of a clump list fitted anew: numbers first, then one step that carries them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sc_lab import catalog as catalogs
from sc_lab.catalog.columns import find_column
from sc_lab.clumps.sed_columns import is_second_history, magnified
from sc_lab.clumps.sed_fits import fit_seds
from sc_lab.clumps.sed_settings import SedSettings
from sc_lab.cosmology import default_cosmology, make_cosmology
from sc_lab.errors import InputError
from sc_lab.session.document import parse_json

if TYPE_CHECKING:
    from astropy.cosmology import FLRW
    from astropy.table import Table

    from sc_lab.session.document import Document
    from sc_lab.session.session import Session
    from sc_lab.units import FloatArray

__all__ = [
    "catalog_fluxes",
    "drop_second_history",
    "own_settings",
    "recorded_cosmology",
    "refit_seds",
    "sed_rows",
    "standing_settings",
]

_MAG = 2.5 / np.log(10.0)
_ZERO = 31.4
#: A magnitude limit of a catalogue is taken to be that many sigma.
_LIMIT = 3.0


def refit_seds(
    session: Session,
    settings: SedSettings | None = None,
    *,
    ids: str | Iterable[str] | None = None,
    cosmology: FLRW | None = None,
    progress: Callable[[int, int], object] | None = None,
    cancel: Any = None,
    executor: Any = None,
) -> bool:
    """Fit SEDs of a session anew, as one step.

    Parameters
    ----------
    session : Session
        A session on any catalogue with redshifts and fluxes or magnitudes; images are not needed.
    settings : SedSettings, optional
        The settings; those that stand when left out.
    ids : str or iterable of str, optional
        Clumps to fit. Left out, all of them are, and clumps that are added later have these settings too.
    cosmology : FLRW, optional
        Cosmology of distances and ages; that which the catalogue records when left out, else the default one.
    progress : callable, optional
        Called as ``progress(done, total)``.
    cancel : object, optional
        With ``is_set()``, such as `threading.Event`; once set, an error is raised and nothing has changed.
    executor : `~concurrent.futures.Executor`, optional
        Passed on to `sc_lab.sed.fit_photometry`.

    Returns
    -------
    bool
        False when nothing has changed.

    Raises
    ------
    InputError
        If an id is unknown, or no clump has a redshift and two detected bands.
    ScLabError
        If it was cancelled, or the list changed in the meantime. Nothing has changed then.
    """
    document, table = session.document, session.current_catalog
    chosen = standing_settings(document, table) if settings is None else settings
    names = None if ids is None else [ids] if isinstance(ids, str) else list(dict.fromkeys(map(str, ids)))
    index = {name: row for row, name in enumerate(session.clump_ids)}
    strangers = [name for name in names or [] if name not in index]
    if strangers or names == []:
        msg = f"not on the list: {', '.join(map(repr, strangers[:5])) or 'no id was given'}; it has {len(index)} clumps"
        raise InputError(msg)
    wanted = list(range(len(table))) if names is None else [index[name] for name in names]
    cosmology = recorded_cosmology(table) if cosmology is None else cosmology
    rows = sed_rows(table, wanted, chosen, cosmology=cosmology, progress=progress, cancel=cancel, executor=executor)
    with session.lock:
        if session.current_catalog is not table:
            msg = "the clump list changed while its SEDs were fitted, so nothing was written; fit them again"
            raise InputError(msg)
        more = {} if names is None else {"ids": names}
        return session.do("refit_seds", rows=rows, settings=_record(chosen), **more)


def drop_second_history(session: Session) -> bool:
    """Take back what SED fits with a second star-formation history say, as one step that fits nothing.

    Parameters
    ----------
    session : Session
        A session on any catalogue.

    Returns
    -------
    bool
        False when no clump has a second history, and none would get one.

    Notes
    -----
    To start one, refit with settings that have it: ``refit_seds(session, settings.replace(second_tau=10))``.
    """
    with session.lock:
        document = session.document
        measured = {pair for row in document.clumps for pair in zip(row.columns, row.units, strict=True)}
        found = dict(pair for pair in sorted(measured) if is_second_history(pair[0]))
        found |= {name: _unit(name) for name in session.catalog.colnames if is_second_history(name)}
        had = {"": standing_settings(document, session.current_catalog), **own_settings(document)}
        settings = {
            name: _record(each.replace(second_tau=None)) for name, each in had.items() if each.second_tau is not None
        }
        more: dict[str, Any] = {"columns": list(found), "units": list(found.values())} if found else {}
        return session.do("drop_second_history", settings=settings, **more)


def standing_settings(document: Document, table: Table | None = None) -> SedSettings:
    """Return the settings that SED fits of a document have where a clump has none of its own.

    Parameters
    ----------
    document : Document
        The document.
    table : `~astropy.table.Table`, optional
        Its catalogue, which may say what it was measured with.

    Returns
    -------
    SedSettings
        Those of the latest refit of all clumps, else of the measurement, else the default ones.
    """
    said = dict(document.sed_settings).get("")
    if said is not None:
        return _settings(parse_json(said, "the settings of the SED fits"))
    record: Any = parse_json(document.observation, "the observation") if document.observation else None
    if record is None and table is not None:
        about = table.meta.get("sc_lab")
        record = about.get("observation") if isinstance(about, Mapping) else None
    sed = record.get("sed") if isinstance(record, Mapping) else None
    return _settings(sed) if isinstance(sed, Mapping) else SedSettings()


def own_settings(document: Document) -> dict[str, SedSettings]:
    """Return the settings of the clumps that have their own.

    Parameters
    ----------
    document : Document
        The document.

    Returns
    -------
    dict
        Settings by id.
    """
    return {
        name: _settings(parse_json(text, f"the settings of the SED fit of {name}"))
        for name, text in document.sed_settings
        if name
    }


def sed_rows(
    table: Table,
    wanted: list[int],
    settings: SedSettings,
    *,
    cosmology: FLRW | None = None,
    progress: Callable[[int, int], object] | None = None,
    cancel: Any = None,
    executor: Any = None,
) -> dict[str, Any]:
    """Return SED fits of clumps of a catalogue as the rows of an edit.

    Parameters
    ----------
    table : `~astropy.table.Table`
        A validated catalogue.
    wanted : list of int
        Rows to fit.
    settings : SedSettings
        The settings.
    cosmology, progress, cancel, executor : optional
        As for `sc_lab.clumps.sed_fits.fit_seds`.

    Returns
    -------
    dict
        ``columns`` (the first is ``id``), ``units`` and ``data``; only of clumps that could be fitted.

    Raises
    ------
    InputError
        If there is none.
    """
    part = table[wanted] if len(wanted) else table[:0]
    ids = catalogs.texts(part, "id")
    z, mu = catalogs.values(part, "z"), catalogs.values(part, "mu")
    if "mu" not in part.colnames:
        mu = np.ones(len(part))
    seds = fit_seds(
        ids,
        catalog_fluxes(part),
        z,
        settings=settings,
        shape_err=catalogs.values(part, "flux_shape_err"),
        cosmology=cosmology,
        strict=True,
        progress=progress,
        cancel=cancel,
        executor=executor,
    )
    fitted = np.flatnonzero(np.isfinite(seds["sed_chi2"]))
    if not fitted.size:
        msg = (
            "no SED can be fitted: none of these clumps has a redshift and two detected bands with errors "
            f"(the bands of the catalogue are {', '.join(sorted(catalog_fluxes(part))) or 'none'})"
        )
        raise InputError(msg)
    columns = magnified(seds, mu)
    columns["mass_is_provisional"] = np.zeros(len(ids), dtype=bool)
    # What a second history said under earlier settings goes, where these have none.
    silent = [name for name in part.colnames if is_second_history(name) and name not in columns]
    columns |= {name: np.full(len(ids), np.nan) for name in silent}
    data: list[list[Any]] = [[ids[row] for row in fitted.tolist()]]
    data += [_plain(values[fitted]) for values in columns.values()]
    units = ["", *(_unit(name) for name in columns)]
    return {"columns": ["id", *columns], "units": units, "data": [list(row) for row in zip(*data, strict=True)]}


def catalog_fluxes(table: Table) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Return the photometry of a catalogue as fluxes.

    Parameters
    ----------
    table : `~astropy.table.Table`
        A validated catalogue, with columns ``flux_<band>`` and ``flux_<band>_err``, or else ``mag_<band>``,
        ``mag_<band>_err`` and ``mag_<band>_is_limit``.

    Returns
    -------
    dict
        Flux density and error [nJy] by band in capitals, shape (n,) each. A magnitude limit is a flux of zero
        with an error of a third of the limit, as for a limit of 3 sigma; a magnitude without an error is left out.
    """
    out: dict[str, tuple[FloatArray, FloatArray]] = {}
    for name in table.colnames:
        entry = find_column(name)
        if entry is None or entry.name != name:
            continue
        if name.startswith("flux_") and f"{name}_err" in table.colnames:
            band = name.removeprefix("flux_")
            out[band.upper()] = catalogs.values(table, name), catalogs.values(table, f"{name}_err")
    for name in table.colnames:
        band = name.removeprefix("mag_")
        known = find_column(name)
        if not name.startswith("mag_") or known is None or known.kind != "number" or band.endswith("_err"):
            continue
        if band.upper() in out:
            continue
        mag, error = catalogs.values(table, name), catalogs.values(table, f"{name}_err")
        limit = catalogs.flags(table, f"{name}_is_limit")
        flux = 10.0 ** (-0.4 * (mag - _ZERO))
        out[band.upper()] = np.where(limit, 0.0, flux), np.where(limit, flux / _LIMIT, flux * error / _MAG)
    return out


def recorded_cosmology(table: Table) -> FLRW:
    """Return the cosmology that a catalogue was made with.

    Parameters
    ----------
    table : `~astropy.table.Table`
        The catalogue.

    Returns
    -------
    FLRW
        The one it records, without radiation; the default one where it records none.
    """
    about = table.meta.get("sc_lab")
    said = about.get("cosmology") if isinstance(about, Mapping) else None
    parts = [said.get(name) for name in ("H0", "Om0", "Ode0")] if isinstance(said, Mapping) else [None]
    numbers = [float(part) for part in parts if isinstance(part, (int, float))]
    return make_cosmology(*numbers) if len(numbers) == 3 else default_cosmology()


def _record(settings: SedSettings) -> dict[str, Any]:
    """Return what is kept of settings."""
    return {**settings.record(), "key": settings.key}


def _settings(record: Mapping[str, Any]) -> SedSettings:
    """Return settings from what is kept of them."""
    return SedSettings.from_record({name: value for name, value in record.items() if name != "key"})


def _unit(name: str) -> str:
    """Return the unit of a column as rows have it."""
    entry = find_column(name)
    return str(entry.astropy_unit) if entry is not None and entry.unit else ""


def _plain(values: npt.NDArray[Any]) -> list[Any]:
    """Return a column as JSON values; draws packed, None where there is no number."""
    if values.ndim == 2:
        return [catalogs.pack_draws(row) for row in values]
    if values.dtype.kind != "f":
        return list(values.tolist())
    return [value if good else None for value, good in zip(values.tolist(), np.isfinite(values), strict=True)]
