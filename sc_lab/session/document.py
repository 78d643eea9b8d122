"""The document: everything the user has decided, as one frozen value with a canonical JSON form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from sc_lab.errors import InputError
from sc_lab.population.settings import Settings
from sc_lab.session.clump_rows import ClumpRow, row_order, rows_from_json, rows_to_json

__all__ = ["DOCUMENT_SCHEMA", "Contours", "Document", "Pairs", "canonical_json", "check_vertices", "parse_json"]

Pairs: TypeAlias = tuple[tuple[str, str], ...]
#: Name of a galaxy and the vertices (ra, dec) [deg] of its polygon.
Contours: TypeAlias = tuple[tuple[str, tuple[tuple[float, float], ...]], ...]

#: Version of the JSON form; raised when a field is added or changes its meaning.
DOCUMENT_SCHEMA = 3
#: What each version had; what came later is empty there.
_FIRST = frozenset({"settings", "excluded", "kept", "notes", "catalog_sha256", "catalog_name"})
_SECOND = _FIRST | {"clumps", "removed", "contours", "observation"}
_FIELDS = {1: _FIRST, 2: _SECOND, 3: _SECOND | {"seds", "sed_settings"}}

_PAIR_LENGTH = 2
_CORNERS = 3


@dataclass(frozen=True, kw_only=True)
class Document:
    """What the user has decided about one catalogue.

    Two documents with the same decisions are equal, in whatever order the decisions were taken:
    the tuples are kept sorted by clump id.

    Attributes
    ----------
    settings : Settings
        Every choice that changes a number of the analysis.
    excluded : tuple of (str, str)
        Id and reason of each clump taken out by hand.
    kept : tuple of str
        Ids of the clumps whose globular-cluster flag is overridden: they stay in the sample.
    notes : tuple of (str, str)
        Id and text of each note.
    clumps : tuple of ClumpRow
        Measured rows that are new, or stand in for those of the catalogue with the same id.
    removed : tuple of str
        Ids of the clumps that were taken off the list.
    contours : tuple of (str, vertices)
        Name and polygon (ra, dec) [deg] of each galaxy whose contour was redrawn.
    observation : str
        What the latest rows were measured on, as canonical JSON: hashes of the images, reference
        band, mode, lens models; empty before the first measurement.
    seds : tuple of ClumpRow
        What SED fits made anew say of clumps; it is laid over their rows, column by column.
    sed_settings : tuple of (str, str)
        Id and settings (canonical JSON of `sc_lab.clumps.SedSettings.record`) of the clumps whose SED was
        fitted with settings of its own; those of all others stand under the empty id, once they were chosen.
    catalog_sha256 : str
        Fingerprint of the contents of the catalogue, see `sc_lab.session.codec.encode_table`.
    catalog_name : str
        What the catalogue is called in messages; not part of its identity.
    """

    settings: Settings = field(default_factory=Settings)
    excluded: Pairs = ()
    kept: tuple[str, ...] = ()
    notes: Pairs = ()
    clumps: tuple[ClumpRow, ...] = ()
    removed: tuple[str, ...] = ()
    contours: Contours = ()
    observation: str = ""
    seds: tuple[ClumpRow, ...] = ()
    sed_settings: Pairs = ()
    catalog_sha256: str = ""
    catalog_name: str = ""

    def replace(self, **changes: Any) -> Document:
        """Return a copy with some fields changed.

        Parameters
        ----------
        **changes : Any
            Names and values of fields.

        Returns
        -------
        Document
            The new document.
        """
        return replace(self, **changes)

    def to_json(self) -> str:
        """Return the canonical JSON text: equal documents give equal text.

        Returns
        -------
        str
            ASCII JSON with sorted keys.
        """
        return canonical_json(
            {
                "schema": DOCUMENT_SCHEMA,
                "settings": self.settings.to_dict(),
                "excluded": [list(pair) for pair in self.excluded],
                "kept": list(self.kept),
                "notes": [list(pair) for pair in self.notes],
                "clumps": rows_to_json(self.clumps),
                "removed": list(self.removed),
                "contours": [[name, [list(vertex) for vertex in vertices]] for name, vertices in self.contours],
                "observation": self.observation,
                "seds": rows_to_json(self.seds),
                "sed_settings": [list(pair) for pair in self.sed_settings],
                "catalog_sha256": self.catalog_sha256,
                "catalog_name": self.catalog_name,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Document:
        """Read the JSON text; the inverse of `to_json`.

        Parameters
        ----------
        text : str
            What `to_json` gave.

        Returns
        -------
        Document
            The document.

        Raises
        ------
        InputError
            If the text is not JSON, is not a document, or comes from a newer version.
        """
        values = parse_json(text, "the document")
        if not isinstance(values, Mapping) or "schema" not in values:
            msg = (
                "this JSON is not an SC Lab document: it has no 'schema'; give the text that Document.to_json returned"
            )
            raise InputError(msg)
        values = dict(values)
        schema = values.pop("schema")
        if isinstance(schema, bool) or schema not in _FIELDS:
            msg = (
                f"the document has schema {schema!r} and this version of SC Lab reads 1 to {DOCUMENT_SCHEMA}; "
                "open it with the version that wrote it, or update SC Lab"
            )
            raise InputError(msg)
        expected = _FIELDS[schema]
        if set(values) != expected:
            wrong = sorted(set(values) ^ expected)
            msg = f"the document lacks or does not know {', '.join(map(repr, wrong))}; it has {sorted(expected)}"
            raise InputError(msg)
        if not isinstance(values["settings"], Mapping):
            msg = f"settings is {values['settings']!r}; give an object of names and values"
            raise InputError(msg)
        return cls(
            settings=Settings.from_dict(values["settings"]),
            excluded=_pairs("excluded", values["excluded"]),
            kept=tuple(sorted(_texts("kept", values["kept"]))),
            notes=_pairs("notes", values["notes"]),
            clumps=_rows(values.get("clumps", [])),
            removed=tuple(sorted(_texts("removed", values.get("removed", [])))),
            contours=_contours(values.get("contours", [])),
            observation=_texts("observation", [values.get("observation", "")])[0],
            seds=_rows(values.get("seds", [])),
            sed_settings=_pairs("sed_settings", values.get("sed_settings", [])),
            catalog_sha256=_texts("catalog_sha256", [values["catalog_sha256"]])[0],
            catalog_name=_texts("catalog_name", [values["catalog_name"]])[0],
        )


def canonical_json(value: Any) -> str:
    """Return the one JSON text of ``value``.

    Parameters
    ----------
    value : Any
        Plain JSON values; infinities and NaN are refused because they are not JSON.

    Returns
    -------
    str
        ASCII, keys sorted, no blanks.

    Raises
    ------
    InputError
        If ``value`` holds something that JSON cannot say.
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        msg = f"this cannot be kept as JSON ({error}); give text, finite numbers, True/False, None and lists of them"
        raise InputError(msg) from None


def parse_json(text: str, what: str) -> Any:
    """Return the value of a JSON text, refusing whatever is not strict JSON.

    Parameters
    ----------
    text : str
        The text.
    what : str
        What it is, for the message.

    Returns
    -------
    Any
        Plain JSON values.

    Raises
    ------
    InputError
        If the text is not JSON, holds NaN or infinity, or is nested without end.
    """

    def refuse(constant: str) -> Any:
        msg = f"{constant} is not JSON"
        raise ValueError(msg)

    try:
        return json.loads(text, parse_constant=refuse)
    except (TypeError, ValueError, RecursionError) as error:
        msg = f"{what} is not readable as JSON ({error})"
        raise InputError(msg) from None


def _rows(blocks: Any) -> tuple[ClumpRow, ...]:
    """Return measured rows from their JSON, in canonical order."""
    if not isinstance(blocks, list):
        msg = f"clumps is {blocks!r}; give a list of tables"
        raise InputError(msg)
    rows = [row for block in blocks for row in rows_from_json(block)]
    _texts("clumps", [row.id for row in rows])
    return tuple(sorted(rows, key=row_order))


def _contours(values: Any) -> Contours:
    """Return polygons from their JSON, in canonical order."""
    if not isinstance(values, list) or not all(isinstance(v, list) and len(v) == _PAIR_LENGTH for v in values):
        msg = f"contours is {values!r}; give a list of [galaxy, vertices]"
        raise InputError(msg)
    _texts("contours", [value[0] for value in values])
    return tuple(sorted((name, check_vertices(vertices)) for name, vertices in values))


def check_vertices(vertices: Any) -> tuple[tuple[float, float], ...]:
    """Return the vertices of a polygon on the sky, or refuse them in words.

    Parameters
    ----------
    vertices : list of (float, float)
        Right ascension and declination [deg, ICRS] of each vertex.

    Returns
    -------
    tuple of (float, float)
        The vertices.

    Raises
    ------
    InputError
        If they are fewer than three, not finite, or not on the sky.
    """
    try:
        points = tuple((float(ra), float(dec)) for ra, dec in vertices)
    except (TypeError, ValueError, OverflowError):
        points = ()
    if len(points) < _CORNERS or not all(0.0 <= ra <= 360.0 and abs(dec) <= 90.0 for ra, dec in points):
        shown = str(vertices)
        shown = shown if len(shown) < 200 else shown[:200] + " ..."
        msg = f"the contour {shown} is not a polygon on the sky; give three or more (ra, dec) in degrees"
        raise InputError(msg)
    return points


def _texts(name: str, values: Any) -> list[str]:
    """Return ``values`` as a list of text without repetition, or refuse it in words."""
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        msg = f"{name} is {values!r}; give a list of text"
        raise InputError(msg)
    if len(set(values)) != len(values):
        msg = f"{name} names a clump twice; name each once"
        raise InputError(msg)
    return values


def _pairs(name: str, values: Any) -> Pairs:
    """Return ``values`` as sorted pairs of text, or refuse it in words."""
    if not isinstance(values, list) or not all(isinstance(v, list) and len(v) == _PAIR_LENGTH for v in values):
        msg = f"{name} is {values!r}; give a list of [id, text]"
        raise InputError(msg)
    _texts(name, [value[0] for value in values])
    if not all(isinstance(value[1], str) for value in values):
        msg = f"{name} holds something that is not text; give a list of [id, text]"
        raise InputError(msg)
    return tuple(sorted((value[0], value[1]) for value in values))
