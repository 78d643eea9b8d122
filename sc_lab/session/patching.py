"""The clump list as a catalogue: the table that was opened, with the measured rows of a document laid over it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, TypeAlias

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.table import Column, MaskedColumn, QTable, Table
from astropy.utils.masked import Masked

from sc_lab.catalog import validate
from sc_lab.catalog.columns import COLUMNS, find_column
from sc_lab.catalog.formats import META_KEY
from sc_lab.catalog.packing import unpack_draws
from sc_lab.catalog.validation import content_sha256
from sc_lab.errors import InputError
from sc_lab.session.clump_rows import ClumpRow
from sc_lab.session.document import parse_json

if TYPE_CHECKING:
    from sc_lab.session.document import Document

__all__ = ["Patcher"]

#: Tables kept, so that undo and redo cost nothing.
_DEPTH = 8


class Patcher:
    """Makes the catalogue of a document from the one that was opened.

    Parameters
    ----------
    base : `~astropy.table.QTable`
        The catalogue as it was opened; never changed.
    """

    def __init__(self, base: QTable) -> None:
        self.base = base
        self._lock = threading.Lock()
        self._plain: _Plain | None = None
        self._checked: QTable | None = None
        self._made: OrderedDict[tuple[int, ...], tuple[Document, QTable]] = OrderedDict()

    def table(self, document: Document) -> QTable:
        """Return the catalogue with the edits of the clump list laid over it.

        Parameters
        ----------
        document : Document
            The document.

        Returns
        -------
        `~astropy.table.QTable`
            The rows of the catalogue in their order without the removed ones, then the new ones
            in the order of their names. The catalogue itself when the list was not edited. What
            was measured on, and what was edited, is in ``meta["sc_lab"]``.
        """
        parts = (
            document.clumps,
            document.removed,
            document.contours,
            document.observation,
            document.seds,
            document.sed_settings,
        )
        if not any(parts):
            return self.base
        key = tuple(map(id, parts))
        with self._lock:
            if key in self._made:
                self._made.move_to_end(key)
                return self._made[key][1]
            if self._plain is None:
                self._plain = _Plain(self._validated())
            made = self._plain.patched(document)
            self._made[key] = document, made  # the document keeps its parts, and so their ids, alive
            while len(self._made) > _DEPTH:
                self._made.popitem(last=False)
            return made

    def checked(self, document: Document) -> QTable:
        """Return the same table, validated: as it was opened, a catalogue may be in any units.

        Parameters
        ----------
        document : Document
            The document.

        Returns
        -------
        `~astropy.table.QTable`
            The very same object until the list changes.
        """
        table = self.table(document)
        if table is not self.base:
            return table
        with self._lock:
            return self._validated()

    def _validated(self) -> QTable:
        """Return the opened catalogue in house units; an empty list has nothing to check but its columns."""
        if self._checked is None:
            self._checked = validate(self.base) if len(self.base) else self.base
        return self._checked


class _Plain:
    """The columns of the opened catalogue as bare arrays."""

    def __init__(self, base: QTable) -> None:
        self.base = base
        self.ids = [str(name) for name in base["id"].tolist()]
        self.index = {name: row for row, name in enumerate(self.ids)}
        self.columns = {name: _bare(base[name]) for name in base.colnames}
        #: Joint draws of the opened catalogue; None where it has none.
        draws = (values for name, (values, *_) in self.columns.items() if _is_draws(name) and values.ndim == 2)
        self.depth = next((values.shape[1] for values in draws), None)

    def patched(self, document: Document) -> QTable:
        """Return the catalogue of a document."""
        base, removed = self.base, set(document.removed)
        keep = np.array([row for row, name in enumerate(self.ids) if name not in removed], dtype=int)
        fresh = [row for row in document.clumps if row.id not in self.index]
        place = {self.ids[row]: position for position, row in enumerate(keep.tolist())}
        place.update((row.id, len(keep) + position) for position, row in enumerate(fresh))
        n = len(keep) + len(fresh)
        overlays: dict[str, list[_Overlay]] = {}
        units: dict[str, str] = {}
        measured = np.zeros(n, dtype=bool)
        # SED fits made anew come last: they take the place of what a measurement said, in their columns alone.
        for (columns, column_units), rows in [*_alike(document.clumps), *_alike(document.seds)]:
            where = np.array([place[row.id] for row in rows], dtype=int)
            by_column = zip(*(row.values for row in rows), strict=True)
            for name, unit, values in zip(columns, column_units, by_column, strict=True):
                overlays.setdefault(name, []).append((where, values))
                units.setdefault(name, unit)
        measured[[place[row.id] for row in document.clumps]] = True
        names = sorted([*base.colnames, *(name for name in overlays if name not in base.colnames)], key=_rank)
        made = [
            Column(np.array(list(place), dtype=np.str_))
            if name == "id"
            else _column(
                name, self.columns.get(name), keep, n, overlays.get(name, []), units.get(name, ""), measured, self.depth
            )
            for name in names
        ]
        # One call with every column: setting them one by one copies what each says of itself.
        out = QTable(made, names=names, copy=False)
        for name in names:
            entry, info = find_column(name), out[name].info
            if entry is not None:
                info.description = entry.description
                info.meta = {"ucd": entry.ucd} if entry.ucd else {}
            elif name in base.colnames:
                info.description = base[name].info.description
        out.meta = dict(base.meta)
        record = base.meta.get(META_KEY)
        # The hash of the contents says that the table was checked: every row of an edit is, when it is made.
        said = {**_said(document), "content_sha256": content_sha256(out)}
        out.meta[META_KEY] = {**(record if isinstance(record, dict) else {}), **said}
        return out


def _is_draws(name: str) -> bool:
    """Return whether a column holds joint draws."""
    entry = find_column(name)
    return entry is not None and entry.draws


def _alike(rows: tuple[ClumpRow, ...]) -> list[tuple[tuple[tuple[str, ...], tuple[str, ...]], list[ClumpRow]]]:
    """Return rows grouped by their columns and units."""
    groups: dict[tuple[tuple[str, ...], tuple[str, ...]], list[ClumpRow]] = {}
    for row in rows:
        groups.setdefault((row.columns, row.units), []).append(row)
    return list(groups.items())


def _rank(name: str) -> int:
    """Return where a column stands: registry order, then families, then foreign ones, each as they come."""
    if name in _ORDER:
        return _ORDER[name]
    return len(_ORDER) + (find_column(name) is None)


_ORDER = {name: position for position, name in enumerate(COLUMNS)}


def _said(document: Document) -> dict[str, Any]:
    """Return what the metadata of the list say of its edits."""
    out: dict[str, Any] = {
        "clump_edits": {
            "measured": [row.id for row in document.clumps],
            "removed": list(document.removed),
            "contours": {name: [list(vertex) for vertex in vertices] for name, vertices in document.contours},
        }
    }
    if document.observation:
        out["observation"] = parse_json(document.observation, "the observation")
    if document.sed_settings:
        said = {name: parse_json(text, "the settings of an SED fit") for name, text in document.sed_settings}
        everywhere = said.pop("", None)
        out["sed"] = {"settings": everywhere, "settings_by_clump": said}
    return out


#: Places in the list, and what was measured there.
_Overlay: TypeAlias = tuple[npt.NDArray[np.int_], tuple[Any, ...]]
#: Values, mask and unit of a column.
_Bare: TypeAlias = tuple[npt.NDArray[Any], npt.NDArray[np.bool_], Any]


def _bare(column: Any) -> _Bare:
    """Return a column of the opened catalogue as plain arrays."""
    plain = getattr(column, "unmasked", column)
    values = np.asarray(np.ma.getdata(getattr(plain, "value", plain)))
    mask = np.broadcast_to(np.asarray(getattr(column, "mask", False), dtype=bool), values.shape)
    return values, mask, getattr(column, "unit", None)


def _column(
    name: str,
    opened: _Bare | None,
    keep: npt.NDArray[np.int_],
    n: int,
    overlays: list[_Overlay],
    unit: str,
    measured: npt.NDArray[np.bool_],
    joint: int | None,
) -> Any:
    """Return one column of the patched list; draws are as many as those of the opened catalogue, `joint`.

    A row that was measured anew holds what the measurement says and nothing else: where it is silent, the
    number of the opened catalogue is gone too, because it belongs to another measurement.
    """
    values: npt.NDArray[Any]
    mask = np.ones(n, dtype=bool)
    packed = _is_draws(name)
    if packed:
        # All columns of draws have one length, those too that the opened catalogue has not.
        overlays = _unpacked(overlays, joint)
    if opened is not None:
        old, old_mask, house = opened
        values = np.zeros((n, *old.shape[1:]), dtype=old.dtype)
        values[: len(keep)] = old[keep]
        mask = np.ones(values.shape, dtype=bool)
        mask[: len(keep)] = old_mask[keep]
        mask[measured] = True
        if overlays and old.ndim > 1 and not packed:
            msg = (
                f"the catalogue has arrays in {name!r} and the measured rows have one number there; rename one of them"
            )
            raise InputError(msg)
        if overlays and unit and house is not None and house != u.Unit(unit):
            msg = f"the catalogue has {name!r} in {house} and the measured rows in {unit}; rename one of them"
            raise InputError(msg)
    elif packed:
        house = u.Unit(unit) if unit else None
        depth = next((len(value) for _, given in overlays for value in given if value is not None), joint or 1)
        values, mask = np.zeros((n, depth)), np.ones((n, depth), dtype=bool)
    else:
        house = u.Unit(unit) if unit else None
        first = next((value for _, given in overlays for value in given if value is not None), 0.0)
        values = np.zeros(n, dtype=np.str_ if isinstance(first, str) else bool if isinstance(first, bool) else float)
    for where, given in overlays:
        values, mask = _overlaid(name, values, mask, where, given)
    if values.dtype.kind in "Ub":
        # A flag that nobody raised is down, a text that nobody wrote is empty: as validated catalogues have them.
        values[mask] = np.zeros((), dtype=values.dtype)
        return Column(values)
    if values.dtype.kind == "f":
        values[mask] = np.nan
        mask = np.isnan(values) if packed else mask
    hidden = bool(mask.any())
    if isinstance(house, u.UnitBase) and house != u.dimensionless_unscaled:
        quantity = u.Quantity(values, house, copy=False)
        return Masked(quantity, mask=mask) if hidden else quantity
    return MaskedColumn(values, mask=mask, unit=house) if hidden else Column(values, unit=house)


def _unpacked(overlays: list[_Overlay], depth: int | None) -> list[_Overlay]:
    """Return draws as arrays of one length: that of the catalogue, or else of the latest rows.

    Where lengths differ draws are repeated or left out evenly, the same ones in every column, so that draw j still
    belongs together across them.
    """
    given = [(where, [None if text is None else unpack_draws(text) for text in texts]) for where, texts in overlays]
    if depth is None:
        depth = next((len(each) for _, rows in reversed(given) for each in rows if each is not None), 1)
    return [
        (where, tuple(None if each is None else each[np.arange(depth) * len(each) // depth] for each in rows))
        for where, rows in given
    ]


def _overlaid(
    name: str,
    values: npt.NDArray[Any],
    mask: npt.NDArray[np.bool_],
    where: npt.NDArray[np.int_],
    given: tuple[Any, ...],
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Return values and mask with some rows replaced."""
    known = np.array([value is not None for value in given])
    mask[where] = True
    if not known.any():
        return values, mask
    new = np.array([value for value in given if value is not None])
    if values.dtype.kind != new.dtype.kind and {values.dtype.kind, new.dtype.kind} - set("fiu"):
        msg = f"the measured rows hold {new.dtype} in {name!r} and the catalogue {values.dtype}; rename one of them"
        raise InputError(msg)
    if values.dtype.kind == "U":
        values = values.astype(np.result_type(values.dtype, new.dtype))
    elif values.dtype.kind in "iu":
        values = values.astype(float)
    values[where[known]] = new
    mask[where[known]] = False
    return values, mask


def empty_catalog(name: str = "") -> Table:
    """Return a catalogue without clumps, to begin a list from images.

    Parameters
    ----------
    name : str
        What the catalogue is called in messages.

    Returns
    -------
    `~astropy.table.QTable`
        No rows; columns id and z.
    """
    table = QTable({"id": np.array([], dtype="U1"), "z": np.array([], dtype=float)})
    table.meta[META_KEY] = {"source": name}
    return table
