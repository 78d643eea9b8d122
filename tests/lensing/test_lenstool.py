"""Lenstool's files: what is written is what is read, and what cannot be read is said in a sentence."""

import math

import numpy as np
import pytest

from sc_lab.cosmology import default_cosmology
from sc_lab.errors import InputError
from sc_lab.lensing import DPIE, ExternalShear, read_images, read_lenstool
from sc_lab.lensing.families import back_project

HEAD = """#Chi2pos: 12.0
#4.0 z:2.5 dlsds:0.7
runmode
\treference     3 150.0 -30.0
\tend
"""
HALO = """potentiel O1
\tprofil       81
\tx_centre     1.5
\ty_centre     -2.5
\tellipticite     0.4
\tangle_pos       -36.0
\tcore_radius         10.0
\tcore_radius_kpc     50.0
\tcut_radius         200.0
\tcut_radius_kpc     1000.0
\tv_disp     1000.0
\tz_lens     0.3500
\tend
"""
SHEAR = """potentiel O2
\tprofil       14
\tgamma     0.1
\tangle_pos     50.0
\tkappa         0.0
\tz_lens     0.3500
\tend
"""
TAIL = """cosmologie
\tmodel       1
\tH0        70.000000
\tomegaM    0.300000
\tomegaX    0.700000
\twX        -1.000000
\twa        0.000000
\tend
fini
rubbish behind the end
"""
POTFILE = """potfile0
\tfilein  1 members.cat
\tzlens   0.350000
\ttype    81
\tcorekpc 0.150000
\tmag0    19.0
\tsigma   3 150.0 10.0
\tcutkpc  0 45.0 100.0
\tslope   0 4.0 4.2
\tvdslope 0 4.0 0.0
\tend
"""
MEMBERS = """#REFERENCE 3 150.0 -30.0
11 10.0 5.0 1.2 0.9 38.0 18.0 0.0
12 -20.0 7.0 1.0 1.0 0.0 20.5 0.0
"""
CHAIN = """#Nsample
#ln(Lhood)
#O1 : x (arcsec)
#O1 : emass
#O1 : rc (arcsec)
#O1 : sigma (km/s)
#O2 : gamma
#Redshift of 4.3
#Pot0 sigma (km/s)
#Pot0 rcut (arcsec)
#Chi2
1 -10.0 1.4 0.41 9.5 990.0 0.11 2.4 160.0 8.0 12.0
2 -11.0 1.6 0.39 10.5 1010.0 0.09 2.6 140.0 10.0 13.0
"""


def _member(name, x, y, mag):
    """Return what Lenstool writes for a member of POTFILE."""
    light = 10 ** (0.4 * (19.0 - mag))
    cut = 45 * math.sqrt(light) / float(default_cosmology().kpc_proper_per_arcmin(0.35).value / 60)
    return (
        f"potentiel {name}\n\tprofil 81\n\tx_centre {x}\n\ty_centre {y}\n\tellipticite 0.28\n\tangle_pos 38.0\n"
        f"\tcore_radius 0.03\n\tcut_radius {cut}\n\tv_disp {150 * light**0.25}\n\tmag {mag}\n\tz_lens 0.35\n\tend\n"
    )


@pytest.fixture
def run(tmp_path):
    """Return a folder as a run of Lenstool leaves it."""
    members = _member("11", 10.0, 5.0, 18.0) + _member("12", -20.0, 7.0, 20.5)
    (tmp_path / "best.par").write_text(HEAD + HALO + SHEAR + members + TAIL)
    (tmp_path / "bestopt.par").write_text(HEAD + HALO + SHEAR + POTFILE + TAIL)
    (tmp_path / "members.cat").write_text(MEMBERS)
    (tmp_path / "bayes.dat").write_text(CHAIN)
    return tmp_path


def test_potentials_are_read_as_they_stand(run):
    lens = read_lenstool(run)
    assert lens.potentials[0] == DPIE(1.5, -2.5, 1000.0, 10.0, 200.0, 0.4, -36.0, "O1", mag=lens.potentials[0].mag)
    assert lens.potentials[1] == ExternalShear(0.1, 50.0, name="O2")
    assert (lens.ra, lens.dec, lens.z_lens) == (150.0, -30.0, 0.35)
    assert lens.name == run.name
    assert lens.redshifts == {"4": 2.5}
    assert len(lens.potentials) == 4


def test_kiloparsecs_are_turned_to_arcsec_with_the_files_cosmology(run):
    text = (HEAD + HALO + TAIL).replace("\tcore_radius         10.0\n", "").replace("0.300000", "0.200000")
    (run / "other.par").write_text(text.replace("0.700000", "0.800000"))
    lens = read_lenstool(run / "other.par", posterior=False)
    assert lens.cosmology.Om0 == 0.2
    kpc = lens.cosmology.kpc_proper_per_arcmin(0.35).value / 60
    assert lens.potentials[0].core == pytest.approx(50 / kpc, rel=1e-12)


def test_members_of_a_potfile_are_scaled_from_its_catalogue(run):
    lens = read_lenstool(run / "bestopt.par", posterior=False)
    best = read_lenstool(run, posterior=False)
    assert "members of potfile0" in lens.cautions[0]
    for ours, written in zip(lens.potentials[2:], best.potentials[2:], strict=True):
        assert ours.sigma == pytest.approx(written.sigma)
        assert ours.cut == pytest.approx(written.cut)
        assert (ours.x, ours.y) == (written.x, written.y)
    assert lens.potentials[2].ellipticity == pytest.approx((1.2**2 - 0.9**2) / (1.2**2 + 0.9**2))
    assert lens.potentials[3].ellipticity == 0


def test_members_beyond_the_number_of_lenses_are_left_out_as_lenstool_does(run):
    (run / "few.par").write_text(HEAD + "grille\n\tnlentille 3\n\tend\n" + HALO + SHEAR + POTFILE + TAIL)
    lens = read_lenstool(run / "few.par", posterior=False)
    assert [each.name for each in lens.potentials] == ["O1", "O2", "11"]
    assert "last 1 members were left out" in lens.cautions[1]


def test_a_file_that_announces_more_lenses_than_it_holds_says_so(run):
    (run / "fewer.par").write_text(HEAD + "grille\n\tnlentille 9\n\tend\n" + HALO + SHEAR + TAIL)
    lens = read_lenstool(run / "fewer.par", posterior=False)
    assert lens.cautions == ("nlentille announces 9 lenses; the file holds 2",)


def test_a_file_without_its_last_word_is_taken_when_all_lenses_are_there(run):
    (run / "open.par").write_text(HEAD + "grille\n\tnlentille 2\n\tend\n" + HALO + SHEAR)
    lens = read_lenstool(run / "open.par", posterior=False)
    assert lens.cautions == ("open.par ends without 'fini', but holds all of its 2 lenses",)


def test_later_versions_write_english(run):
    french = HEAD + "grille\n\tnlentille 2\n\tend\n" + HALO + SHEAR + TAIL
    english = french
    for before, after in (
        ("potentiel", "potential"), ("profil ", "profile "), ("ellipticite", "ellipticity"), ("cosmologie", "cosmology"),
        ("grille", "grid"), ("nlentille", "nlens"), ("fini\n", "finish\n"),
    ):  # fmt: skip
        english = english.replace(before, after)
    (run / "french.par").write_text(french)
    (run / "english.par").write_text(english)
    a, b = (read_lenstool(run / f"{name}.par", posterior=False) for name in ("french", "english"))
    assert repr(a.potentials) == repr(b.potentials)
    assert a.cautions == b.cautions == ()


def test_the_chain_moves_what_it_names(run):
    lens = read_lenstool(run)
    assert lens.n_realisations == 2
    first = lens.realisation(0)
    assert (first.potentials[0].x, first.potentials[0].y) == (1.4, -2.5)
    assert (first.potentials[0].ellipticity, first.potentials[0].core, first.potentials[0].sigma) == (0.41, 9.5, 990.0)
    assert first.potentials[1].gamma == 0.11
    # The first member is a magnitude brighter than the reference galaxy of the scaling.
    assert first.potentials[2].sigma == pytest.approx(160.0 * 10 ** (0.4 / 4))
    assert first.potentials[2].cut == pytest.approx(8.0 * 10 ** (0.4 / 2))
    assert first.potentials[3].sigma == pytest.approx(160.0 * 10 ** (-0.6 / 4))
    assert first.redshifts["4"] == 2.4
    assert lens.posterior.log_likelihood.tolist() == [-10.0, -11.0]


def test_the_chain_is_read_only_when_wanted(run):
    assert read_lenstool(run, posterior=False).n_realisations == 0
    (run / "bayes.dat").rename(run / "elsewhere.dat")
    assert read_lenstool(run).n_realisations == 0
    assert read_lenstool(run, posterior=run / "elsewhere.dat").n_realisations == 2


def test_images_take_the_fitted_redshift_where_none_is_written(run):
    (run / "mul.cat").write_text(
        "#REFERENCE 0\n1.1 150.001 -30.001 0.1 0.1 0 1.5 0\n4.1 149.999 -29.999 0.1 0.1 0 0.0 0\n9.1 150 -30 0.1 0.1 0 0 0\n"
    )
    images = read_images(run / "mul.cat", lens=read_lenstool(run))
    assert images["system"].tolist() == ["1", "4", "9"]
    np.testing.assert_array_equal(images["z"], [1.5, 2.5, np.nan])
    assert images["z_fitted"].tolist() == [False, True, True]
    np.testing.assert_allclose(images["ra"].to_value("deg"), [150.001, 149.999, 150.0], rtol=0, atol=1e-12)


def test_perfect_images_come_back_to_one_source(run):
    lens = read_lenstool(run)
    found = lens.counter_images(150.002, -30.001, 2.0)
    found["system"], found["z"] = "1", 2.0
    projected = back_project(lens, found)
    assert projected.n_images == len(found) >= 2
    # The solver closes to 1e-8 arcsec; the frame's degrees keep 1e-10.
    assert projected.source_rms < 1e-7


def test_images_need_company_and_columns(run):
    lens = read_lenstool(run)
    found = lens.counter_images(150.002, -30.001, 2.0)
    with pytest.raises(InputError, match="no column system, z"):
        back_project(lens, found)
    found["system"], found["z"] = [str(i) for i in range(len(found))], 2.0
    with pytest.raises(InputError, match="no system has two images"):
        back_project(lens, found)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "not a Lenstool parameter file"),
        (HEAD + TAIL, "redshifts none"),
        (HEAD + HALO + SHEAR, "ends without 'fini' and holds 2 potentials.*it is cut off"),
        (HEAD + HALO + "limit O1\n\tv_disp 1 800.0 1500.0 0.1\n\tend\n" + TAIL, "input of a run, not its result"),
        (HEAD + HALO[:-5] + SHEAR + TAIL, "'potentiel' begins before the section of line 6 ended"),
        (HEAD + HALO.replace("0.3500", "0.3600") + SHEAR + TAIL, "lens redshifts 0.35, 0.36"),
        (HEAD + HALO.replace("81", "12") + TAIL, "profile 12"),
        (HEAD + HALO.replace("1000.0\n\tz_lens", "fast\n\tz_lens") + TAIL, "v_disp is 'fast'"),
        (HEAD + HALO.replace("\tv_disp     1000.0\n", "") + TAIL, "there is no v_disp"),
        (HALO + TAIL, "no 'reference 3 RA Dec'"),
        (HEAD + HALO + TAIL.replace("-1.000000", "-0.9"), "not a cosmological constant"),
        (HEAD + HALO.replace("nan", "").replace("0.4\n", "nan\n") + TAIL, "ellipticite is 'nan'"),
        (HEAD + HALO + POTFILE.replace("members.cat", "gone.cat") + TAIL, "gone.cat, which is not beside it"),
        (HEAD + HALO + POTFILE.replace("3 150.0 10.0", "1 100.0 300.0") + TAIL, "the input of a run, not its result"),
    ],
)
def test_bad_parameter_files_are_refused_in_sentences(run, text, words):
    (run / "bad.par").write_text(text)
    with pytest.raises(InputError, match=words):
        read_lenstool(run / "bad.par", posterior=False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (CHAIN[:-20], "numbers for 11 labels"),
        ("#Nsample\n", "holds no sample"),
        (CHAIN.replace("#O1 : x (arcsec)", "#O7 : x (arcsec)"), "samples 'O7 : x"),
        (CHAIN.replace("O1 : emass", "omegaM"), "samples 'omegaM'"),
        (CHAIN.replace("Pot0", "Pot3"), "samples Pot3"),
        (CHAIN.replace("990.0", "inf"), "is 'inf'"),
    ],
)
def test_bad_chains_are_refused_in_sentences(run, text, words):
    (run / "bayes.dat").write_text(text)
    with pytest.raises(InputError, match=words):
        read_lenstool(run)


def test_a_chain_of_scaled_members_needs_the_file_that_names_them(run):
    (run / "bestopt.par").unlink()
    with pytest.raises(InputError, match=r"bestopt\.par, which says who they are"):
        read_lenstool(run)


def test_missing_and_binary_files_are_refused_in_sentences(run, tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        read_lenstool(run / "none.par")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="neither best"):
        read_lenstool(empty)
    (run / "binary.par").write_bytes(b"\x00\x01SIMPLE")
    with pytest.raises(InputError, match="not a text file"):
        read_lenstool(run / "binary.par")
    with pytest.raises(InputError, match="there is no file"):
        read_lenstool(run, posterior=run / "none.dat")
    (run / "short.cat").write_text("1.1 150 -30\n")
    with pytest.raises(InputError, match="line 1: 3 words"):
        read_images(run / "short.cat", lens=read_lenstool(run))


def test_a_path_inside_a_file_leads_nowhere_else(run, tmp_path_factory):
    secret = tmp_path_factory.mktemp("elsewhere") / "secret.cat"
    secret.write_text(MEMBERS)
    (run / "sly.par").write_text(HEAD + HALO + POTFILE.replace("members.cat", str(secret)) + TAIL)
    with pytest.raises(InputError, match="not beside it"):
        read_lenstool(run / "sly.par", posterior=False)


def test_what_is_no_path_is_refused_in_words():
    with pytest.raises(InputError, match="give the folder of a Lenstool run"):
        read_lenstool(None)
