"""The document and the pure edits."""

from __future__ import annotations

import json

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
        (Document().to_json().replace('"schema":3', '"schema":4'), "schema 4"),
        (Document().to_json().replace('"schema":3', '"schema":true'), "schema True"),
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


def test_a_document_of_an_earlier_version_is_read_and_lacks_what_came_later():
    doc = Document(excluded=(("c1", "star"),), kept=("c3",), catalog_sha256="ab", catalog_name="x")
    old = json.loads(doc.to_json())
    for schema, gone in ((2, ("seds", "sed_settings")), (1, ("clumps", "removed", "contours", "observation"))):
        for name in gone:
            del old[name]
        assert Document.from_json(json.dumps(old | {"schema": schema})) == doc
        with pytest.raises(InputError, match="lacks"):
            Document.from_json(json.dumps(old | {"schema": schema + 1}))


def rows(*ids, **columns):
    """Return measured rows as an edit takes them."""
    names, units = ["id", "z", *columns], ["", "", *(unit for unit, _ in columns.values())]
    return {"columns": names, "units": units, "data": [[i, 2.0, *(v for _, v in columns.values())] for i in ids]}


def sed(*ids, mass=2e6, mass_draws=None):
    """Return SED fits as an edit takes them."""
    names, units = ["id", "mass", "mass_draws", "sed_library"], ["", "solMass", "solMass", ""]
    return {"columns": names, "units": units, "data": [[i, mass, mass_draws, "BC03"] for i in ids]}


def test_fits_of_seds_lie_over_the_rows_until_the_clump_itself_changes():
    doc = apply_edit(Document(), IDS, "move_clump", {"id": "c1", "rows": rows("c1", "c2", mass=("solMass", 1e6))})
    doc = apply_edit(doc, IDS, "refit_seds", {"rows": sed("c1", "c2", "c3"), "settings": {"tau": 1}})
    assert [row.id for row in doc.seds] == ["c1", "c2", "c3"]
    assert doc.sed_settings == (("", '{"tau":1}'),)
    own = apply_edit(doc, IDS, "refit_seds", {"rows": sed("c2"), "settings": {"tau": 10}, "ids": ["c2"]})
    assert own.sed_settings == (("", '{"tau":1}'), ("c2", '{"tau":10}'))
    assert Document.from_json(own.to_json()) == own
    moved = apply_edit(own, IDS, "move_clump", {"id": "c2", "rows": rows("c2")})
    assert [row.id for row in moved.seds] == ["c1", "c3"], "the row that was measured anew says its SED itself"
    assert moved.sed_settings == own.sed_settings, "it keeps the settings that were chosen for it"
    gone = apply_edit(own, IDS, "remove_clump", {"ids": ["c2", "c3"]})
    assert [row.id for row in gone.seds] == ["c1"]
    assert gone.sed_settings == doc.sed_settings
    again = apply_edit(own, IDS, "refit_seds", {"rows": sed("c1"), "settings": {"tau": 2}})
    assert again.sed_settings == (("", '{"tau":2}'),), "settings for all leave none of one's own"


def test_dropping_a_second_history_leaves_the_first_one():
    row = {"columns": ["id", "mass", "mass_tau10"], "units": ["", "solMass", "solMass"], "data": [["c1", 2.0, 3.0]]}
    doc = apply_edit(Document(), IDS, "refit_seds", {"rows": row, "settings": {"second_tau": 10}})
    out = apply_edit(doc, IDS, "drop_second_history", {"settings": {"": {"second_tau": None}}})
    assert [(each.id, each.columns, each.values) for each in out.seds] == [("c1", ("mass",), (2.0,))]
    assert out.sed_settings == (("", '{"second_tau":null}'),)
    arguments = {"columns": ["mass_tau10"], "units": ["solMass"]}
    silent = apply_edit(doc, IDS, "drop_second_history", arguments)
    assert {row.id for row in silent.seds} == set(IDS)
    assert {row.id: row.values for row in silent.seds}["c1"] == (2.0, None)
    assert silent.sed_settings == doc.sed_settings
    for wrong, word in (
        ({"columns": ["mass"]}, "second history"),
        ({"settings": {"x": {"a": 1}}}, "'x'"),
        ({"settings": 3}, "3"),
    ):
        with pytest.raises(InputError, match=word):
            apply_edit(doc, IDS, "drop_second_history", wrong)


def test_edits_of_the_list_keep_what_was_measured():
    doc = Document(excluded=(("c1", "blend"), ("c2", "")), kept=("c1",), notes=(("c1", "?"),))
    doc = apply_edit(doc, IDS, "add_clump", {"ids": "n9", "rows": rows("n9", "c3", mass=("solMass", 1e6))})
    assert [row.id for row in doc.clumps] == ["c3", "n9"]
    ids = {*IDS, "n9"}
    doc = apply_edit(doc, ids, "remove_clump", {"ids": ["c1", "n9"]})
    assert [row.id for row in doc.clumps] == ["c3"]
    assert doc.removed == ("c1", "n9")
    assert (doc.excluded, doc.kept, doc.notes) == ((("c2", ""),), (), ()), "what was said of a clump goes with it"
    ids -= {"c1", "n9"}
    split = apply_edit(doc, ids, "split_clump", {"id": "c2", "into": ["n10", "n11"], "rows": rows("n10", "n11")})
    assert [row.id for row in split.clumps] == ["c3", "n10", "n11"], "new names count upwards, so they come last"
    merged = apply_edit(doc, ids, "merge_clumps", {"ids": ["c2", "c4"], "into": "n10", "rows": rows("n10")})
    assert merged.removed == ("c1", "c2", "c4", "n9")
    drawn = apply_edit(doc, ids, "edit_contour", {"galaxy": "g", "contour": [[1, 2], [1.1, 2], [1, 2.1]]})
    assert drawn.contours == (("g", ((1.0, 2.0), (1.1, 2.0), (1.0, 2.1))),)
    assert apply_edit(drawn, ids, "edit_contour", {"galaxy": "g", "contour": None}) == doc
    assert Document.from_json(drawn.to_json()) == drawn


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
        ("add_clump", {"ids": "c1", "rows": rows("c1")}, "used already: 'c1'"),
        ("add_clump", {"ids": "n1", "rows": rows("c1")}, "without a measured row: 'n1'"),
        ("add_clump", {"ids": "n1", "rows": rows("n1", "x")}, "not on the list: 'x'"),
        ("add_clump", {"ids": ["n1", "n1"], "rows": rows("n1")}, "different names"),
        ("add_clump", {"ids": "n1", "rows": rows("n1", "n1")}, "name a clump twice"),
        ("add_clump", {"ids": "n1", "rows": rows("n1", mass=("kg", 1.0))}, "'solMass'"),
        ("add_clump", {"ids": "n1", "rows": rows("n1", mass=("solMass", -1.0))}, "greater than 0"),
        ("add_clump", {"ids": "n1", "rows": rows("n1", mass=("solMass", True))}, "mass of n1"),
        ("add_clump", {"ids": "n1", "rows": rows("n1", mass=("solMass", 10**400))}, "mass of n1"),
        ("add_clump", {"ids": "n1", "rows": rows("n1", what=("", 10**400))}, "what of n1"),
        ("edit_contour", {"galaxy": "g", "contour": [[0, 0], [1, 1], [1, 10**400]]}, "not a polygon"),
        ("add_clump", {"ids": "n1", "rows": rows("n1", what=("", [1]))}, "a number, flag or text"),
        ("add_clump", {"ids": "n1", "rows": rows("n1", what=("smoots", 1.0))}, "'smoots'"),
        ("add_clump", {"ids": "n1", "rows": rows("n1", mass_draws=("solMass", 1.0))}, "mass_draws of n1.*pack_draws"),
        ("add_clump", {"ids": "n1", "rows": rows("n1", mass_draws=("solMass", "AACA"))}, "does not hold draws"),
        ("add_clump", {"ids": "n1", "rows": rows("n1", mass_draws=("solMass", "AACAvw=="))}, "greater than 0"),
        ("add_clump", {"ids": "n1", "rows": rows("n1", mass_draws=("solMass", "AACAfw=="))}, "finite"),
        ("refit_seds", {"rows": rows("c1"), "settings": {"a": 1}}, "says nothing of: 'z'"),
        ("refit_seds", {"rows": sed("c9"), "settings": {"a": 1}}, "not on the list: 'c9'"),
        ("refit_seds", {"rows": sed("c1"), "settings": {}}, "settings"),
        ("refit_seds", {"rows": sed("c1"), "settings": {"a": 1}, "ids": []}, "at least one"),
        ("refit_seds", {"rows": sed("c1"), "settings": {"a": 1}, "ids": ["c2"]}, "settings of others"),
        ("refit_seds", {"rows": sed("c1"), "settings": {"a": 1}, "ids": ["c1", "x"]}, "'x'"),
        ("add_clump", {"ids": "n1", "rows": {"columns": ["id"], "units": [""], "data": [[1]]}}, "first its id"),
        ("add_clump", {"ids": "n1", "rows": {"columns": "id", "units": [], "data": []}}, "'id' first"),
        ("add_clump", {"ids": "n1", "rows": [1]}, "columns, units and data"),
        ("add_clump", {"ids": "n1", "rows": rows("n1"), "observation": "x"}, "observation"),
        ("remove_clump", {"ids": "x"}, "not on the list: 'x'"),
        ("remove_clump", {"ids": "c1", "rows": rows("c1")}, "adds or keeps"),
        ("move_clump", {"id": ["c1", "c2"], "rows": rows("c1")}, "one name"),
        ("move_clump", {"id": "c1", "rows": rows("c2")}, "lack that of 'c1'"),
        ("split_clump", {"id": "c1", "into": ["n1"], "rows": rows("n1")}, "two or more"),
        ("merge_clumps", {"ids": ["c1"], "into": "n1", "rows": rows("n1")}, "two or more"),
        ("measure_clumps", {"rows": rows("n1")}, "not on the list"),
        ("edit_contour", {"galaxy": "g", "contour": [[0, 0], [1, 1]]}, "not a polygon"),
        ("edit_contour", {"galaxy": "g", "contour": [[0, 0], [1, 1], [1, 91]]}, "not a polygon"),
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


def test_a_session_refuses_a_name_that_is_none(catalog):
    session = Session(catalog)
    for name in (["set"], None, 3):
        with pytest.raises(InputError, match="no edit named"):
            session.do(name)
    assert session.log == []


def test_every_edit_has_its_docstring():
    for name, edit in EDITS.items():
        assert edit.__doc__, name
