"""Host galaxies: from images to masses and rates, divided by the median magnification."""

from __future__ import annotations

import math
import threading
from dataclasses import replace

import astropy.units as u
import numpy as np
import pytest
from astropy.wcs import WCS

from sc_lab.clumps.hosts import fit_hosts
from sc_lab.errors import InputError, ScLabError
from sc_lab.images import Field
from sc_lab.images.galaxy import Galaxy
from sc_lab.population.hosts import host_histograms
from sc_lab.sed import Priors, RedshiftGrid, SedModel, Uniform, get_filters, make_tables
from sc_lab.sed.sfh import continuity_weights

BANDS = ("F115W", "F150W", "F200W", "F277W", "F356W", "F444W")
EDGES = (0.0, 10.0, 100.0, 500.0, 2000.0)
OPTIONS = {"bin_edges": EDGES, "rng": 3}
Z = 2.0


class FlatLens:
    """The same magnification everywhere, with a scatter of 10 per cent between realisations."""

    name = "flat"

    def __init__(self, mu):
        self.mu = mu

    def magnification(self, ra, _dec, _z):
        return (np.full(np.shape(ra), -self.mu),) * 3

    def magnification_draws(self, ra, _dec, _z, *, n_draws, rng):
        factor = np.exp(0.1 * np.random.default_rng(rng).standard_normal((n_draws, 1)))
        return (-self.mu * factor * np.ones((1, len(ra))),) * 2


def true_flux(log_mass, a_v=0.4):
    """Return fluxes [nJy] of a galaxy of constant rate over 2 Gyr."""
    model = SedModel(sfh="continuity", bin_edges=EDGES)
    tables = make_tables(model, get_filters(BANDS), Z)
    history = continuity_weights(model, Z)
    weights = history.fractions(np.zeros((1, 3)))[0] @ history.weights
    wz, wa = tables.metallicity_weights(np.array([0.4]))[0], tables.a_v_weights(np.array([a_v]))[0]
    wu = tables.log_u_weights(np.array([-2.0]))[0]
    young = weights[: tables.n_young]
    flux = np.einsum("k,z,a,kzab->b", weights, wz, wa, tables.stellar[: len(weights)])
    flux = flux + np.einsum("k,z,u,a,kzuab->b", young, wz, wu, wa, tables.nebular)
    return 10**log_mass * flux[:-1], 10**log_mass / 2e9


@pytest.fixture(scope="module")
def field():
    """Three square galaxies; the second is ten times fainter, the third has no redshift."""
    shape = (160, 240)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [150.0, 2.0], [120, 80], [-0.03 / 3600, 0.03 / 3600]
    rng = np.random.default_rng(1)
    flux, _ = true_flux(10.0)
    galaxies, places = [], ((60, 60, 1.0, Z), (140, 60, 0.1, Z), (100, 110, 0.5, math.nan))
    for number, (x, y, _, z) in enumerate(places, start=1):
        corners = np.array([(x, y), (x + 20, y), (x + 20, y + 20), (x, y + 20)]) - 0.5
        sky = np.stack(wcs.all_pix2world(corners[:, 0], corners[:, 1], 0), axis=1)
        galaxies.append(Galaxy(id=f"G{number}", contour=sky, z=z, z_spec=True))
    images, errors = {}, {}
    for band, value in zip(BANDS, flux, strict=True):
        sigma = value / 400 / 20  # a pixel's error; 400 pixels of the faint one add to S/N 40
        image = rng.normal(0, sigma, shape)
        for x, y, share, _ in places:
            image[y : y + 20, x : x + 20] += share * value / 400
        images[band], errors[band] = image, np.full(shape, sigma)
    return Field.from_arrays(images, errors=errors, wcs=wcs, galaxies=tuple(galaxies))


@pytest.fixture(scope="module")
def hosts(field):
    fits = {}
    return fit_hosts(field, lenses=FlatLens(4.0), fits=fits, **OPTIONS), fits


def test_intrinsic_masses_and_rates_come_back(hosts):
    """The truth lies within three of the errors, which are those of the photometry, floor and magnification."""
    table, _ = hosts
    for row, share in ((0, 1.0), (1, 0.1)):
        _, rate = true_flux(10.0)
        for name, truth in (("mass_formed", 1e10 * share / 4), ("sfr10", rate * share / 4), ("a_v", 0.4)):
            found = float(u.Quantity(table[name][row]).value)
            low, high = (float(u.Quantity(table[f"{name}_err_{end}"][row]).value) for end in ("lo", "hi"))
            assert found - 3 * low < truth < found + 3 * high, (row, name)
        assert table["mass"][row] < table["mass_formed"][row]
        assert table["mass"].unit == u.Msun
    ratio = float(table["mass_formed"][0] / table["mass_formed"][1])
    # The same galaxy, ten times fainter; each mass is good to 0.2 dex.
    assert math.log10(ratio) == pytest.approx(1.0, abs=0.3)


def test_the_median_magnification_divides(hosts, field):
    """Without a lens the same draws are larger by the magnification, and a note says so; the SSFR is the same."""
    table, _ = hosts
    bare = fit_hosts(field, lenses=(), **OPTIONS)
    assert (table["mu_median"][:2] == 4.0).all()
    assert table["mu_median_err"][0] == pytest.approx(0.4, rel=0.2)  # 200 draws of 10 per cent
    for name in ("mass", "sfr10"):
        assert u.Quantity(bare[name][:2] / table[name][:2]).value == pytest.approx([4, 4], rel=0.05)  # scatter of mu
    assert u.Quantity(bare["ssfr"][:2]).value == pytest.approx(u.Quantity(table["ssfr"][:2]).value, rel=1e-9)
    assert np.isnan(bare["mu_median"]).all()
    assert "not divided" in bare["note"][0]


def test_a_galaxy_without_redshift_has_a_note_and_no_numbers(hosts):
    table, fits = hosts
    assert "no redshift" in table["note"][2]
    assert np.isnan(table["mass"][2].value)
    assert table["flux_f150w"][2] > 0 * u.nJy
    assert set(fits) == {"G1", "G2"}
    assert table["library"][0] == fits["G1"].model.loaded_library.title
    assert table["chi2"][0] == fits["G1"].best_chi2
    # What holds for all, such as the end of the library's metallicities, is said once and not in every row.
    assert any("metallicity" in each for each in table.meta["hosts"]["cautions"])
    assert "metallicity" not in table["note"][0]


def test_rows_do_not_depend_on_who_else_is_fitted(hosts, field):
    table, _ = hosts
    alone = fit_hosts(field, [field.galaxies[1]], lenses=FlatLens(4.0), **OPTIONS)
    assert alone["mass"][0] == table["mass"][1]
    assert alone["sfr10_err_hi"][0] == table["sfr10_err_hi"][1]


@pytest.mark.slow
def test_an_uncertain_redshift_is_integrated_over(field):
    """A photometric redshift with an uncertainty, or a density by id, widens what follows from the distance."""
    fits = {}
    galaxy = replace(field.galaxies[0], z_spec=False, dz=0.02)
    loose = replace(field.galaxies[2], z=math.nan)
    table = fit_hosts(
        field, [galaxy, loose], redshifts={"G3": RedshiftGrid.gaussian(2.0, 0.02)}, fits=fits, lenses=(), rng=3,
        sfh="constant",
    )  # fmt: skip
    assert table["z"] == pytest.approx([2.0, 2.0], abs=1e-3)
    for name in ("G1", "G3"):
        low, high = fits[name].quantile("z", [0.16, 0.84])
        assert 0.005 < high - low < 0.05
    assert np.isfinite(table["mass"].value).all()


def test_progress_cancel_and_refusals(field):
    seen = []
    stop = threading.Event()
    with pytest.raises(ScLabError, match="cancelled after 1 of 3 galaxies"):
        fit_hosts(
            field,
            lenses=(),
            progress=lambda done, total: (seen.append((done, total)), stop.set()),
            cancel=stop,
            **OPTIONS,
        )
    assert seen == [(1, 3)]
    with pytest.raises(InputError, match="not fitted: G9"):
        fit_hosts(field, redshifts={"G9": 2.0})
    few = fit_hosts(field, field.galaxies[:1], bands=["F150W"], lenses=(), **OPTIONS)
    assert "1 band" in few["note"][0]
    none = fit_hosts(field, ())
    assert len(none) == 0
    assert host_histograms(none)["mass"].counts.sum() == 0


def test_histograms_count_every_host_with_a_value(hosts):
    table, _ = hosts
    found = host_histograms(table, quantities=("mass", "sfr10", "mu_median", "z", "a_v"), bins=5)
    assert found["mass"].counts.sum() == 2
    assert found["mass"].n_missing == 1
    assert found["mass"].edges[0] == pytest.approx(math.log10(table["mass"][:2].value.min()))
    assert found["mu_median"].median == pytest.approx(math.log10(4.0))
    with pytest.raises(InputError, match="no column"):
        host_histograms(table["id", "z"])
    with pytest.raises(InputError, match="bins is 0"):
        host_histograms(table, bins=0)


@pytest.mark.real_data
def test_the_arc_behind_el_gordo_runs_through(real_data):
    """A0102-ID224: a red, massive galaxy at z = 4.33 (NIR-dark project) on eight matched bands of correlated noise."""
    from sc_lab.detection import make_segments, segment_galaxies

    folder = real_data / "imaging" / "elgordo_a0102_id224"
    bands = ("F090W", "F115W", "F150W", "F200W", "F277W", "F356W", "F410M", "F444W")
    field = Field.from_files(
        {band: folder / f"{band}_matched_sci.fits.gz" for band in bands},
        skies={band: folder / f"{band}_matched_sky.fits.gz" for band in bands},
    )
    galaxies = segment_galaxies(make_segments(field, "F200W"))
    arc = max(galaxies, key=lambda each: float(each.area.value))
    fits = {}
    table = fit_hosts(field.replace(galaxies=galaxies), [arc], redshifts={arc.id: 4.33}, n_empty=100, fits=fits)
    fit = fits[arc.id]
    # Eight bands and a model that is no worse than the floor of 3 per cent.
    assert table["chi2"][0] < 12
    assert fit.meta["r_hat"] < 1.05
    assert fit.ess > 400
    # Magnified: a dusty galaxy of about 1e11 solar masses times the magnification.
    assert 10.5 < fit.quantile("log_mass", 0.5) < 11.5
    assert fit.quantile("a_v", 0.5) > 0.7
    assert "no lens model" in table["note"][0]


@pytest.mark.real_data
@pytest.mark.slow
def test_the_arc_behind_el_gordo_without_its_redshift(real_data):
    """Over 2 < z < 7 the photometry alone puts it within 0.5 of z = 4.33, or says that it cannot tell."""
    from sc_lab.detection import make_segments, segment_galaxies

    folder = real_data / "imaging" / "elgordo_a0102_id224"
    bands = ("F090W", "F115W", "F150W", "F200W", "F277W", "F356W", "F410M", "F444W")
    field = Field.from_files(
        {band: folder / f"{band}_matched_sci.fits.gz" for band in bands},
        skies={band: folder / f"{band}_matched_sky.fits.gz" for band in bands},
    )
    galaxies = segment_galaxies(make_segments(field, "F200W"))
    arc = max(galaxies, key=lambda each: float(each.area.value))
    fits = {}
    fit_hosts(
        field.replace(galaxies=galaxies), [arc], redshifts={arc.id: RedshiftGrid.uniform(2.0, 7.0)}, fits=fits,
        priors=Priors(a_v=Uniform(0, 4)), bin_edges=(0, 10, 30, 100, 300, 1000), error_floor=0.05,
    )  # fmt: skip
    low, high = fits[arc.id].quantile("z", [0.005, 0.995])
    assert low < 4.33 + 0.5
    assert high > 4.33 - 0.5
