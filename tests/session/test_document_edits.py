"""The document and the pure edits."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest

from sc_lab.errors import InputError, UnitMismatchError
from sc_lab.population.settings import Settings
from sc_lab.session import EDITS, Document, Session
from sc_lab.session.edits import apply_edit, plain_arguments

IDS = frozenset(f"c{i}" for i in range(6))


def test_json_gives_the_document_back():
    doc = Document(
        settings=Settings(size_threshold=31.5, mass_max=None, gc_box=((0, 0), (1, 0), (0, 1))),
        excluded=(("c1", "<script>"), ("c2", "")),
        kept=("c3",),
        notes=(("c1", "é\u2028"),),
        catalog_sha256="ab",
        catalog_name="x",
    )
    assert Document.from_json(doc.to_json()) == doc
    assert Document.from_json(doc.to_json()).to_json() == doc.to_json()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "not readable"),
        ("[]", "schema"),
        ("{}", "schema"),
        ("[" * 100_000, "not readable"),
        (Document().to_json().replace('"schema":2', '"schema":3'), "schema 3"),
        (Document().to_json().replace('"schema":2', '"schema":true'), "schema True"),
        (Document().to_json().replace('"kept":[]', '"kept":["a","a"]'), "twice"),
        (Document().to_json().replace('"kept":[]', '"kept":[1]'), "kept"),
        (Document().to_json().replace('"notes":[]', '"notes":[["a"]]'), "notes"),
        (Document().to_json().replace('"notes":[]', '"notes":[["a",1]]'), "notes"),
        (Document().to_json().replace('"notes"', '"Notes"'), "Notes"),
        (Document().to_json().replace('"seed":1', '"seed":NaN'), "not readable"),
        (Document().to_json().replace('"seed":1', '"seed":-1'), "seed"),
        (Document().to_json().replace('"seed":1', '"sed":1'), "sed"),
    ],
)
def test_a_wrong_document_is_refused_in_words(text, word):
    with pytest.raises(InputError, match=word):
        Document.from_json(text)


def test_edits_do_what_they_say():
    doc = Document()
    doc = apply_edit(doc, IDS, "exclude", {"ids": ["c2", "c1"], "reason": "blend"})
    assert doc.excluded == (("c1", "blend"), ("c2", "blend"))
    assert apply_edit(doc, IDS, "exclude", {"ids": "c1"}) == doc, "no reason given keeps the old one"
    assert apply_edit(doc, IDS, "restore", {"ids": "c1"}).excluded == (("c2", "blend"),)
    doc = apply_edit(doc, IDS, "keep", {"ids": ["c5", "c0"]})
    assert doc.kept == ("c0", "c5")
    assert apply_edit(doc, IDS, "unkeep", {"ids": ["c0"]}).kept == ("c5",)
    doc = apply_edit(doc, IDS, "note", {"id": "c3", "text": "arc"})
    assert doc.notes == (("c3", "arc"),)
    assert apply_edit(doc, IDS, "note", {"id": "c3", "text": ""}).notes == ()
    doc = apply_edit(doc, IDS, "set", {"size_threshold": 30, "gc_cut": False})
    assert (doc.settings.size_threshold, doc.settings.gc_cut) == (30.0, False)
    reset = apply_edit(doc, IDS, "reset", {})
    assert reset.settings == Settings()
    assert reset.excluded == doc.excluded


@pytest.mark.parametrize(
    ("name", "arguments", "word"),
    [
        ("exclude", {"ids": ["c1", "nobody"]}, "'nobody'"),
        ("exclude", {"ids": []}, "at least one"),
        ("exclude", {"ids": 3}, "as text"),
        ("exclude", {"ids": ["c1", None]}, "as text"),
        ("exclude", {"ids": "c1", "reason": 4}, "reason"),
        ("exclude", {"ids": "c1", "reason": "\ud800"}, "UTF-8"),
        ("exclude", {"id": "c1"}, "takes ids, reason"),
        ("exclude", {"doc": 1, "catalog_ids": ["x"], "ids": "x"}, "takes ids, reason"),
        ("note", {"id": ["c1"], "text": "a"}, "one clump"),
        ("note", {"id": "c1"}, "text"),
        ("set", {"size": 3}, "size_threshold"),
        ("set", {"doc": 3}, "no setting named 'doc'"),
        ("set", {"size_threshold": -3}, "size_threshold"),
        ("set", {"lens_model": ["a"]}, "lens_model"),
        ("reset", {"all": True}, "no arguments"),
        ("__class__", {}, "no edit named"),
        (["set"], {}, "no edit named"),
    ],
)
def test_a_wrong_edit_is_refused_in_words_and_leaves_no_trace(name, arguments, word):
    doc = Document()
    with pytest.raises(InputError, match=word):
        apply_edit(doc, IDS, name, arguments)
    assert doc == Document()


def test_python_values_become_plain_json_in_house_units():
    plain = plain_arguments(
        {"mass_min": 2 * u.Gg * 1e30, "ids": np.array(["a", "b"]), "seed": np.int64(3), "x": {(1, 2)}}
    )
    assert plain["ids"] == ["a", "b"]
    assert plain["seed"] == 3
    assert plain["x"] == [[1, 2]]
    # the conversion factor kg/Msun of astropy, to rounding
    assert plain["mass_min"] == pytest.approx((2e36 * u.kg).to_value(u.Msun), rel=1e-14)
    with pytest.raises(UnitMismatchError, match="size_threshold"):
        plain_arguments({"size_threshold": 3 * u.kg})


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), object(), np.ma.masked_array([1], mask=[True]), 3 * u.pc]
)
def test_what_json_cannot_say_is_refused(catalog, value):
    session = Session(catalog)
    with pytest.raises(InputError):
        session.do("set", omega_m=value)
    assert session.log == []


def test_every_edit_has_its_docstring():
    for name, edit in EDITS.items():
        assert edit.__doc__, name
