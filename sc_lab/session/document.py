"""The document: everything the user has decided, as one frozen value with a canonical JSON form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from sc_lab.errors import InputError
from sc_lab.population.settings import Settings

__all__ = ["DOCUMENT_SCHEMA", "Document", "Pairs", "canonical_json", "parse_json"]

Pairs: TypeAlias = tuple[tuple[str, str], ...]

#: Version of the JSON form; raised when a field is added or changes its meaning.
DOCUMENT_SCHEMA = 1

_PAIR_LENGTH = 2


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
    catalog_sha256 : str
        Fingerprint of the contents of the catalogue, see `sc_lab.session.codec.encode_table`.
    catalog_name : str
        What the catalogue is called in messages; not part of its identity.
    """

    settings: Settings = field(default_factory=Settings)
    excluded: Pairs = ()
    kept: tuple[str, ...] = ()
    notes: Pairs = ()
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
        if schema != DOCUMENT_SCHEMA or isinstance(schema, bool):
            msg = (
                f"the document has schema {schema!r} and this version of SC Lab reads {DOCUMENT_SCHEMA}; "
                "open it with the version that wrote it, or update SC Lab"
            )
            raise InputError(msg)
        expected = {"settings", "excluded", "kept", "notes", "catalog_sha256", "catalog_name"}
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
