"""A list of clumps measured over a field: truth in every band, edits refit only what they touch, nothing crashes."""

import threading
from itertools import pairwise

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable, vstack
from astropy.wcs import WCS
from photometry_scenes import make_small_field, psf_of, tangent_wcs

from sc_lab.errors import InputError, ScLabError, ScLabWarning
from sc_lab.images import Field
from sc_lab.photometry import PhotometryFlag, fit_clumps, propose_splits


def width(values):
    return 1.4826 * np.median(np.abs(values - np.median(values)))


def same(a, b):
    """Whether two columns hold the same numbers, NaN where NaN."""
    a, b = np.asarray(a), np.asarray(b)
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def asked(fits):
    """Return the options that decided a result."""
    return {name: fits.meta["photometry"]["settings"][name] for name in ("mode", "background")}


def altered(field, band, change):
    """Return a field with changed pixels or errors in one band."""
    images, errors = {}, {}
    for name in field.names:
        ny, nx = field[name].shape
        images[name], errors[name] = (a.copy() for a in field[name].cutout(0, 0, nx, ny))
    change(images[band], errors[band])
    return Field.from_arrays(
        images,
        errors=errors,
        psfs={n: field[n].psf for n in field.names},
        wcs={n: field[n].wcs for n in field.names},
        units="nJy",
    )


@pytest.fixture(scope="module", params=["paper-host", "full-host", "paper-plane", "full-plane"])
def measured(request, small_field):
    field, table, truth = small_field
    mode, background = request.param.split("-")
    return fit_clumps(field, table, reference="F150W", mode=mode, background=background), truth, field, table


def test_fluxes_are_right_in_every_band(measured):
    fits, truth, field, _ = measured
    for band in field.names:
        flux, error = (fits[f"flux_{band.lower()}{tail}"].to_value(u.nJy) for tail in ("", "_err"))
        pull = (flux - truth["flux"]) / error
        # 60 clumps: the width is known to 13 %, the median to 0.16; forced bands share the noise of the shape.
        assert 0.6 < width(pull) < 1.4, band
        assert abs(np.median(pull)) < 0.6, band
        assert abs(np.median(flux / truth["flux"] - 1)) < 0.04, band


def test_positions_and_groups_are_right(measured):
    fits, truth, *_ = measured
    assert np.median(np.hypot(fits["x"] - truth["x"], fits["y"] - truth["y"])) < 0.1
    members = np.bincount(fits["group"])[fits["group"]]
    assert list(members[:6]) == [2] * 6
    assert (members[6:] == 1).all()


def test_sizes_follow_from_the_shape(measured):
    fits, *_ = measured
    kind = np.asarray(fits["size_class"])
    assert set(kind) <= {"resolved", "one_axis", "unresolved"}
    radius, limit = fits["r_eff_obs"].to_value(u.mas), fits["r_eff_obs_limit"].to_value(u.mas)
    resolved, point = kind == "resolved", kind == "unresolved"
    det = fits["cov_xx"] * fits["cov_yy"] - fits["cov_xy"] ** 2
    expected = 1.17741 * det[resolved] ** 0.25 * 20  # mas per pixel
    assert radius[resolved] == pytest.approx(np.asarray(expected), rel=1e-5)  # 1.17741 has six figures
    assert np.isnan(radius[point]).all()
    assert np.isnan(limit[~point]).all()
    assert (limit[point] >= 9.419).all()  # 0.4 px: 9.42 mas
    if fits.meta["photometry"]["settings"]["mode"] == "paper":
        assert limit[point] == pytest.approx(9.42, abs=0.005)
    else:
        assert (np.asarray(fits["dchi2_point"])[resolved] > 6).all()


def test_columns_have_units_and_survive_a_file(measured, tmp_path):
    fits, *_ = measured
    for name, unit in {
        "ra": u.deg,
        "flux_f150w": u.nJy,
        "flux_f444w_err": u.nJy,
        "r_eff_obs": u.mas,
        "theta": u.deg,
    }.items():
        assert fits[name].unit == unit
    fits.write(tmp_path / "fits.ecsv")
    back = QTable.read(tmp_path / "fits.ecsv")
    assert back.meta["photometry"]["settings"] == fits.meta["photometry"]["settings"]
    assert same(back["flux_f150w"], fits["flux_f150w"])


def test_a_table_read_back_serves_as_previous(measured, tmp_path):
    fits, _, field, table = measured
    fits.write(tmp_path / "fits.ecsv")
    back = QTable.read(tmp_path / "fits.ecsv")
    again = fit_clumps(field, table, reference="F150W", **asked(fits), previous=back)
    assert again.meta["photometry"]["refitted"] == [0, 0]
    assert same(again["flux_f444w"], fits["flux_f444w"])


@pytest.mark.parametrize("edit", ["add", "remove", "remove one of a pair", "move", "reorder", "add beside"])
def test_an_edit_refits_what_it_touches_and_nothing_changes_against_a_fit_from_scratch(measured, edit):
    fits, _, field, table = measured
    keep = np.arange(len(table))
    new = table.copy()
    if edit == "add":
        extra = QTable(
            {"id": ["new"], "ra": [table["ra"][20].value + 6e-5] * u.deg, "dec": [table["dec"][20].value] * u.deg}
        )
        new = vstack([table, extra])
    elif edit == "add beside":
        extra = QTable(
            {"id": ["new"], "ra": [table["ra"][20].value] * u.deg, "dec": [table["dec"][20].value + 1.2e-5] * u.deg}
        )
        new = vstack([table, extra])
    elif edit == "remove":
        new = table[keep != 30]
    elif edit == "remove one of a pair":
        new = table[keep != 1]
    elif edit == "move":
        new["ra"][40] += 1e-5 * u.deg
    else:
        new = table[::-1]
    quick = fit_clumps(field, new, reference="F150W", **asked(fits), previous=fits)
    slow = fit_clumps(field, new, reference="F150W", **asked(fits))
    assert quick.meta["photometry"]["refitted"][0] < 12
    for name in slow.colnames:
        assert same(quick[name], slow[name]), name


def test_other_options_make_an_earlier_table_useless(small_field):
    field, table, _ = small_field
    fits = fit_clumps(field, table[:5], mode="paper")
    for other in ({"mode": "full"}, {"background": "plane"}):
        again = fit_clumps(field, table[:5], previous=fits, **{"mode": "paper", **other})
        assert again.meta["photometry"]["refitted"] == [5, 5]


def test_neighbours_are_not_counted_twice_in_the_coarse_bands(small_field):
    """A clump 6 px away in F150W is 3 px away in F444W: without a joint fit its light would be added."""
    field, table, truth = make_small_field(20, size=300, seed=5, pairs=8, snr=(60, 100), std=(0.0, 0.5))
    fits = fit_clumps(field, table, mode="full")
    ratio = fits["flux_f444w"].to_value(u.nJy)[:16] / truth["flux"][:16]
    pull = (fits["flux_f444w"].to_value(u.nJy) - truth["flux"])[:16] / fits["flux_f444w_err"].value[:16]
    assert abs(np.median(ratio) - 1) < 0.05
    assert width(pull) < 1.6  # sixteen values
    assert (fits["flags"][:16] & PhotometryFlag.NEIGHBOUR > 0).all()
    alone = fit_clumps(field, table[0:16:2], mode="full")
    assert np.median(alone["flux_f444w"].to_value(u.nJy) / truth["flux"][0:16:2]) > 1.2


def test_registration_errors_are_absorbed_by_the_centre(small_field):
    del small_field
    field, table, truth = make_small_field(40, seed=6, registration=0.15, snr=(40, 100))
    medians = {}
    for centre in ("prior", "fixed"):
        fits = fit_clumps(field, table, mode="full", centre=centre)
        ratio = [np.median(fits[f"flux_{b}"].to_value(u.nJy) / truth["flux"]) for b in ("f115w", "f200w", "f277w")]
        medians[centre] = np.array(ratio) - 1
    assert np.abs(medians["prior"]).max() < 0.02
    assert (medians["fixed"] <= medians["prior"] + 1e-3).all()  # a frozen centre loses light


def test_merged_clumps_are_fitted_as_one(small_field):
    field, table, truth = small_field
    double = QTable(
        {"id": ["twin"], "ra": [table["ra"][20].value + 2e-7] * u.deg, "dec": [table["dec"][20].value] * u.deg}
    )
    fits = fit_clumps(field, vstack([table, double]), mode="full")
    rows = [20, 60]
    assert (fits["flags"][rows] & PhotometryFlag.MERGED > 0).any()
    flux = fits["flux_f150w"].value[rows]
    assert np.isfinite(flux).sum() == 1
    assert np.nansum(flux) == pytest.approx(truth["flux"][20], rel=0.2)  # S/N 15 or more
    lost = rows[int(np.isnan(flux).argmax())]
    assert "fitted as one" in fits["status"][lost]
    assert fits["ra"][lost].value == pytest.approx(table["ra"][20].value, abs=1e-6)  # still where it was asked for


def test_long_chains_are_cut(small_field):
    field, table, _ = small_field
    x0, y0 = field["F150W"].to_pixel(table["ra"][25], table["dec"][25])
    ra, dec = field["F150W"].to_sky(float(x0) + 3.0 * np.arange(7), np.full(7, float(y0)))
    fits = fit_clumps(field, QTable({"id": [f"k{i}" for i in range(7)], "ra": ra * u.deg, "dec": dec * u.deg}))
    assert np.bincount(fits["group"]).max() <= 4
    assert (fits["flags"] & PhotometryFlag.CHAIN_CUT > 0).all()


def test_a_clump_that_drops_out_takes_its_size_from_another_band():
    field, table, truth = make_small_field(12, seed=8, snr=(60, 100))
    x, y = np.rint(truth["x"][3]).astype(int), np.rint(truth["y"][3]).astype(int)

    def remove(image, error):
        image[y - 8 : y + 9, x - 8 : x + 9] = np.random.default_rng(1).normal(size=(17, 17))
        error[y - 8 : y + 9, x - 8 : x + 9] = 1.0

    fits = fit_clumps(altered(field, "F150W", remove), table, reference="F150W")
    assert fits["flags"][3] & PhotometryFlag.FALLBACK_BAND
    assert fits["size_band"][3] in ("F115W", "F200W")
    assert abs(fits["flux_f150w"][3] / fits["flux_f150w_err"][3]) < 4  # measured there all the same
    assert fits["flux_f200w"][3].value == pytest.approx(truth["flux"][3], rel=0.15)
    assert "another band" in fits["status"][3]


def test_bad_places_are_said_and_nothing_else_is_lost(small_field):
    field, table, truth = small_field
    x, y = (np.rint(truth[k]).astype(int) for k in ("x", "y"))

    def spoil(image, error):
        error[y[10], x[10]] = 0.0  # saturated core
        image[y[11] - 6 : y[11] + 7, x[11] - 6 : x[11] + 7] = np.nan
        error[y[12] - 3, x[12] + 3] = -1.0

    spoiled = altered(field, "F150W", spoil)
    clean = fit_clumps(altered(field, "F150W", lambda image, error: None), table, reference="F150W")
    strange = QTable(
        {
            "id": ["outside", "nowhere", "edge"],
            "ra": [10.0, np.nan, field["F150W"].to_sky(1.0, 200.0)[0]] * u.deg,
            "dec": [10.0, 0.0, field["F150W"].to_sky(1.0, 200.0)[1]] * u.deg,
        }
    )
    fits = fit_clumps(spoiled, vstack([table, strange]), reference="F150W")
    flags = {name: fits["flags"][i] for i, name in enumerate(fits["id"])}
    assert flags["c10"] & PhotometryFlag.BAD_CORE
    assert flags["c12"] & PhotometryFlag.BAD_PIXELS
    assert not flags["c12"] & PhotometryFlag.BAD_CORE
    assert flags["outside"] & PhotometryFlag.NO_DATA
    assert flags["nowhere"] & PhotometryFlag.NO_DATA
    assert flags["edge"] & PhotometryFlag.EDGE
    assert flags["c11"] & (PhotometryFlag.FALLBACK_BAND | PhotometryFlag.NO_DATA)
    assert np.isfinite(fits["flux_f444w"][11].value)  # the other bands are there
    assert "too few usable pixels" in fits["status"][60]
    others = [i for i in range(60) if i not in (10, 11, 12)]
    assert same(fits["flux_f150w"][others], clean["flux_f150w"][others])


def test_a_psf_smaller_than_the_box_is_said():
    field, table, _ = make_small_field(4, size=120)
    small = field["F150W"].psf.trimmed(7)
    images = {"F150W": field["F150W"].cutout(0, 0, 120, 120)[0]}
    tiny = Field.from_arrays(
        images, errors={"F150W": np.ones((120, 120))}, psfs={"F150W": small}, wcs=tangent_wcs(0.02, 120)
    )
    fits = fit_clumps(tiny, table)
    assert (fits["flags"] & PhotometryFlag.PSF_SMALL > 0).all()
    assert np.isfinite(fits["flux_f150w"].value).all()


def test_a_band_without_a_psf_gets_no_fluxes_and_says_so():
    rng = np.random.default_rng(1)
    images = {"F150W": rng.normal(size=(60, 60)), "F200W": rng.normal(size=(60, 60))}
    errors = {name: np.ones((60, 60)) for name in images}
    field = Field.from_arrays(images, errors=errors, psfs={"F150W": psf_of()}, wcs=tangent_wcs(0.02, 60), units="nJy")
    ra, dec = field["F150W"].to_sky(30.0, 30.0)
    table = QTable({"id": ["a"], "ra": [float(ra)] * u.deg, "dec": [float(dec)] * u.deg})
    with pytest.warns(ScLabWarning, match="F200W: no PSF"):
        fits = fit_clumps(field, table)
    assert np.isnan(fits["flux_f200w"].value).all()
    assert (fits["flags"] & PhotometryFlag.BAND_MISSING > 0).all()
    with pytest.warns(ScLabWarning, match="sizes come from F150W"):
        fit_clumps(field, table, reference="F814W", bands=["F150W"])


def test_no_clumps_give_an_empty_table(small_field):
    field, table, _ = small_field
    fits = fit_clumps(field, table[:0])
    assert len(fits) == 0
    assert {"flux_f150w", "size_class", "flags"} <= set(fits.colnames)
    grown = fit_clumps(field, table[:2], previous=fits)
    assert len(grown) == 2
    emptied = fit_clumps(field, table[:0], previous=grown)
    assert len(emptied) == 0


def test_it_reports_progress_and_stops_when_asked(small_field):
    field, table, _ = small_field
    seen = []
    fit_clumps(field, table[:10], progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1]
    assert all(a[0] <= b[0] for a, b in pairwise(seen))
    stop = threading.Event()
    stop.set()
    with pytest.raises(ScLabError, match="cancelled"):
        fit_clumps(field, table[:10], cancel=stop)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mode": "best"}, "mode='best'"),
        ({"centre": "loose"}, "centre='loose'"),
        ({"background": "sky"}, "background='sky'"),
        ({"box": 10}, "box=10"),
        ({"bands": ["F999W"]}, "F999W"),
        ({"pair_distance": -1}, "pair_distance=-1"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_words(small_field, options, words):
    field, table, _ = small_field
    with pytest.raises(InputError, match=words):
        fit_clumps(field, table[:2], **options)


def test_tables_that_do_not_tell_clumps_apart_are_refused(small_field):
    field, table, _ = small_field
    with pytest.raises(InputError, match="lacks dec"):
        fit_clumps(field, table["id", "ra"])
    with pytest.raises(InputError, match="'c1' stands in 2 rows"):
        fit_clumps(field, vstack([table[:3], table[1:2]]))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"box": "9"}, "box='9'"),
        ({"box": None}, "box=None"),
        ({"box": 9.5}, "box=9.5"),
        ({"pair_distance": "4"}, "pair_distance='4'"),
        ({"previous": 5}, "previous is int"),
        ({"clumps": [1, 2]}, "clumps is list"),
        ({"clumps": None}, "clumps is NoneType"),
    ],
)
def test_options_of_another_kind_are_refused_in_words(small_field, options, words):
    field, table, _ = small_field
    given = {"clumps": table} | options
    with pytest.raises(InputError, match=words):
        fit_clumps(field, given.pop("clumps"), **given)


def test_one_band_may_be_named_without_a_list(small_field):
    field, table, _ = small_field
    one = fit_clumps(field, table[:3], bands="F150W")
    assert one.meta["photometry"]["settings"]["bands"] == ["F150W"]


def test_proposals_need_a_measured_table(small_field):
    field, table, _ = small_field
    with pytest.raises(InputError, match="no result of fit_clumps"):
        propose_splits(field, table)


@pytest.mark.parametrize(("turn", "flip"), [(0.0, False), (37.0, False), (200.0, True)])
def test_the_metadata_turn_pixels_to_the_sky(turn, flip):
    """One step in x and one in y, west and north [arcsec], on turned and mirrored mosaics across RA = 0."""
    wcs = WCS(naxis=2)
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    east = 1 if flip else -1
    wcs.wcs.crpix, wcs.wcs.crval, wcs.wcs.ctype = [30, 30], [359.9999, -30.0], ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cd = 0.02 / 3600 * np.array([[east * c, -east * s], [s, c]])
    noise = np.random.default_rng(2).normal(0, 1, (60, 60))
    field = Field.from_arrays({"F150W": noise}, errors={"F150W": 1.0}, psfs={"F150W": psf_of()}, wcs=wcs)
    table = QTable({"id": ["a"], "ra": [359.9999] * u.deg, "dec": [-30.0] * u.deg})
    matrix = fit_clumps(field, table).meta["photometry"]["pixel_to_sky"]
    # The tangent plane is flat to 1e-9 within an arcsecond of its centre; degrees keep 1e-9 arcsec.
    np.testing.assert_allclose(matrix, 0.02 * np.array([[-east * c, east * s], [s, c]]), atol=1e-8)


def test_an_earlier_result_of_other_images_is_not_taken_over(small_field):
    """With another PSF, other errors or other pixels every clump is fitted again, as from scratch."""
    field, table, _ = small_field
    some = table[:6]
    earlier = fit_clumps(field, some, bands=["F150W"])
    narrow = field.replace(psfs={"F150W": psf_of("F115W", scale=field["F150W"].pixel_scale)})
    deeper = field.replace(noise_scale={"F150W": 0.5})
    brighter = altered(field, "F150W", lambda image, _: np.multiply(image, 2.0, out=image))
    for other in (narrow, deeper, brighter):
        again = fit_clumps(other, some, bands=["F150W"], previous=earlier)
        scratch = fit_clumps(other, some, bands=["F150W"])
        assert again.meta["photometry"]["refitted"] == scratch.meta["photometry"]["refitted"]
        assert all(same(again[name], scratch[name]) for name in scratch.colnames)
    kept = fit_clumps(field, some, bands=["F150W"], previous=earlier)
    assert kept.meta["photometry"]["refitted"] == [0, 0]


@pytest.mark.parametrize("field", [None, np.ones((20, 20))])
def test_something_else_than_a_field_is_refused_in_words(field):
    with pytest.raises(InputError, match="give a Field"):
        fit_clumps(field, QTable({"id": ["a"], "ra": [1.0], "dec": [1.0]}))
