"""Tables hold the fluxes of the model exactly, conserve what they should, and are kept safely."""

from __future__ import annotations

import concurrent.futures
import subprocess
import sys

import astropy.units as u
import numpy as np
import pytest
from astropy.cosmology import FlatLambdaCDM, Planck18
from astropy.io import fits

from sc_lab.errors import InputError
from sc_lab.sed import (
    SedModel,
    get_filters,
    load_library,
    make_tables,
    model_fluxes,
    model_spectra,
    state_weights,
)
from sc_lab.sed import tables as module
from sc_lab.sed._basis import fine_basis
from sc_lab.sed._frame import frame_at
from sc_lab.sed._nodes import a_v_nodes, barycentric_weights, linear_weights
from sc_lab.sed.dust import attenuation_curve
from sc_lab.sed.igm import igm_transmission
from sc_lab.sed.libraries import grid_folder
from sc_lab.sed.sfh import age_bins

BANDS = ("F435W", "F814W", "F150W", "F277W", "F444W")


def summed(tables, model, p):
    """Return the fluxes that a table gives for parameters."""
    weights = state_weights(model, np.asarray(p["age"]) * 1e-3 * 10**9, n_bin=tables.n_bin)
    by_metal, by_av = tables.metallicity_weights(p["metallicity"]), tables.a_v_weights(p["a_v"])
    flux = np.einsum("nk,kzab,nz,na->nb", weights, tables.stellar, by_metal, by_av, optimize=True)
    if tables.log_u.size:
        by_u = tables.log_u_weights(p["log_u"])
        young = weights[:, : tables.n_young]
        flux += np.einsum("nk,kzuab,nz,nu,na->nb", young, tables.nebular, by_metal, by_u, by_av, optimize=True)
    return flux * 10 ** np.asarray(p["log_mass_formed"])[:, None]


def random_parameters(rng, n, *, oldest=900.0, a_v=1.0):
    return {
        "age": 10 ** rng.uniform(0.01, np.log10(oldest), n),
        "log_mass_formed": rng.uniform(5, 8, n),
        "metallicity": 10 ** rng.uniform(-3, 1.0, n),
        "a_v": rng.uniform(0, a_v, n),
        "log_u": rng.uniform(-4, 0, n),
    }


@pytest.mark.parametrize("mode", ["compat", "fine"])
@pytest.mark.parametrize(
    ("choices", "a_v", "close"),
    [
        ({"nebular": False, "dust_emission": False}, 1.0, 1e-12),
        # The bluer the light, the steeper its attenuation: what dust takes of ionising light, and radiates in F444W,
        # is nearly a step in A_V where laws rise without end.
        ({}, 1.0, 1e-11),
        ({"tau": 10.0}, 3.0, 1e-11),
        ({"eta": 2.0, "escape_fraction": 0.4}, 1.0, 1e-8),
        ({"attenuation": "smc"}, 1.0, 1e-3),
        ({"attenuation": "charlot_fall", "eta": 3.0, "sfh": "constant"}, 1.0, 1e-6),
    ],
)
def test_a_table_gives_the_fluxes_of_the_model(mode, choices, a_v, close):
    model = SedModel(mode=mode, **choices)
    p = random_parameters(np.random.default_rng(3), 60, a_v=a_v)
    for z in (0.4, 2.0, 5.0):
        tables = make_tables(model, BANDS, z, a_v_range=(0.0, a_v))
        expected = model_fluxes(model, BANDS, z, p, with_v=True)
        found = summed(tables, model, p)
        seen = expected > 1e-6 * expected.max(axis=1, keepdims=True)
        assert np.abs(found / np.where(seen, expected, found) - 1.0).max() < close


@pytest.mark.parametrize("part", [0.3, 0.5])
def test_light_that_escapes_and_light_that_does_not_add_up_at_every_wavelength(part):
    """Clouds that cover a part of the stars are the mean of none and full, in ionising light and in the dust's too."""
    p = {"age": 3.0, "log_mass_formed": 6.0, "metallicity": 0.4, "a_v": 0.8, "log_u": -2.0}
    # From 400 Angstrom to 200 micron at rest.
    wave = np.geomspace(0.04, 200.0, 4000) * 1.5
    none, some, full = (
        model_spectra(SedModel(escape_fraction=each), 0.5, p, wavelength=wave)[1] for each in (0.0, part, 1.0)
    )
    np.testing.assert_allclose(some, (1 - part) * none + part * full, rtol=1e-9)  # rounding of the same sums
    ionising = wave / 1.5 < 0.09
    assert full[0, ionising].sum() > 0
    bands = ("wfc3_uvis/F275W", "F444W")
    none, some, full = (
        summed(make_tables(model, bands, 2.6), model, {name: np.array([value]) for name, value in p.items()})
        for model in (SedModel(escape_fraction=each) for each in (0.0, part, 1.0))
    )
    np.testing.assert_allclose(some, (1 - part) * none + part * full, rtol=1e-9)


def test_a_fine_flux_is_the_integral_over_the_librarys_own_samples():
    """A population of one age and metallicity, integrated sample by sample, lines as they are, in plain loops."""
    library, z, a_v, log_u = load_library(), 1.7, 0.6, -2.5
    model = SedModel(sfh="burst", dust_emission=False)
    frame = frame_at("fine", z)
    for age in (library.age[60], library.age[120]):
        young = age < 1e7
        i_age = int(np.searchsorted(library.age, age))
        p = {"age": age / 1e6, "log_mass_formed": 0.0, "metallicity": 0.4, "a_v": a_v, "log_u": log_u}
        stars = np.array(library.spectra[3][i_age], dtype=float)
        wave = library.wavelength
        emitted, lines = stars.copy(), np.zeros(library.line_wavelength.size)
        if young:
            emitted[wave < 912] = 0.0
            i = int(np.searchsorted(library.nebular_age, age))
            part = (age - library.nebular_age[i - 1]) / (library.nebular_age[i] - library.nebular_age[i - 1])
            gas, line = library.nebular_continuum(3, 3), library.nebular_lines(3, 3)
            emitted += (1 - part) * gas[i - 1] + part * gas[i]
            lines = (1 - part) * line[i - 1] + part * line[i]
        through = emitted * 10 ** (-0.4 * a_v * attenuation_curve(model, wave))
        line_through = lines * 10 ** (-0.4 * a_v * attenuation_curve(model, library.line_wavelength))
        for each, found in zip(get_filters(BANDS), model_fluxes(model, BANDS, z, p)[0], strict=True):
            x = np.unique(np.concatenate([wave * (1 + z), np.linspace(each.low, each.high, 20_000)]))
            x = x[(x >= each.low) & (x <= each.high)]
            throughput = np.interp(x, each.wavelength, each.throughput)
            light = np.interp(x / (1 + z), wave, through) * igm_transmission(x / (1 + z), z)
            total = np.trapezoid(light * throughput * x, x)
            for centre, strength in zip(library.line_wavelength, line_through, strict=True):
                at = centre * (1 + z)
                seen = np.interp(at, each.wavelength, each.throughput, left=0, right=0)
                total += strength * (1 + z) * seen * at * igm_transmission(np.array([centre * (1 - 1e-6)]), z)[0]
            f_lambda = total / np.trapezoid(throughput * x, x) * 3.826e33 / frame.dimming
            expected = f_lambda * each.pivot**2 / 2.99792458e18 / 1e-32
            # Pixels of the model share the light of up to five samples: a filter's kinks inside one move 1e-4 of it.
            assert found == pytest.approx(expected, rel=5e-4), (each.name, age)


def test_no_light_is_lost_in_the_pixels_of_the_fine_mode():
    library = load_library()
    basis = fine_basis(library, age_bins(SedModel()))
    for i_z in (0, 4):
        total = np.trapezoid(np.array(library.spectra[i_z], dtype=float), library.wavelength, axis=1)
        np.testing.assert_allclose(basis.stellar[i_z] @ basis.width, total, rtol=1e-12)
        first = np.trapezoid(library.spectra[i_z] * library.wavelength, library.wavelength, axis=1)
        np.testing.assert_allclose(basis.stellar[i_z] @ (basis.width * basis.wavelength), first, rtol=1e-11)


@pytest.mark.parametrize("mode", ["compat", "fine"])
@pytest.mark.parametrize("choices", [{}, {"eta": 3.0}, {"nebular": False}])
def test_dust_moves_energy_and_loses_none(mode, choices):
    """Over all wavelengths, what leaves the source does not depend on A_V."""
    from sc_lab.sed._parameters import checked_sources
    from sc_lab.sed.spectra import _emerging
    from sc_lab.sed.tables import basis_of

    model = SedModel(mode=mode, **choices)
    p = {"age": 6.0, "log_mass_formed": 0.0, "metallicity": 0.4, "log_u": -2.0, "a_v": np.array([0.0, 0.3, 2.0])}
    basis = basis_of(model, get_filters(BANDS))
    light, lines, absorbed = _emerging(model, basis, age_bins(model), checked_sources(model, p, 2.0, None, None))
    total = light @ basis.energy_width + lines.sum(axis=1) + absorbed
    np.testing.assert_allclose(total, total[0], rtol=1e-12)
    assert absorbed[0] == 0
    assert absorbed[2] > 0.4 * total[2]  # success would be trivial without dust


def test_fluxes_are_proportional_to_mass_and_add_up():
    """Twice the mass is twice the light; between nodes of Z and log U fluxes are means."""
    model = SedModel()
    p = {"age": 4.0, "log_mass_formed": np.log10([1e5, 3e5]), "metallicity": 0.3, "a_v": 0.2, "log_u": -2.0}
    one, three = model_fluxes(model, BANDS, 2.0, p)
    np.testing.assert_allclose(three, 3 * one, rtol=1e-13)
    ends = {**p, "log_mass_formed": 5.0, "metallicity": np.array([0.2, 0.3, 0.4]), "log_u": -2.0}
    low, middle, high = model_fluxes(model, BANDS, 2.0, ends)
    np.testing.assert_allclose(middle, 0.5 * (low + high), rtol=1e-13)
    ends = {**p, "log_mass_formed": 5.0, "log_u": np.array([-2.5, -2.25, -2.0])}
    low, middle, high = model_fluxes(model, BANDS, 2.0, ends)
    np.testing.assert_allclose(middle, 0.5 * (low + high), rtol=1e-13)


def test_metallicity_is_constant_outside_the_library():
    """Clamped as in bagpipes: a fifth of a log-uniform prior from 1e-3 lies below 0.005."""
    p = {"age": 50.0, "log_mass_formed": 5.0, "metallicity": np.array([1e-4, 1e-3, 0.005]), "a_v": 0.0, "log_u": -2.0}
    fluxes = model_fluxes(SedModel(mode="compat"), BANDS, 2.0, p)
    np.testing.assert_allclose(fluxes[:2], fluxes[[2, 2]], rtol=1e-14)
    np.testing.assert_array_equal(
        linear_weights(np.array([1.0, 2.0]), np.array([0.0, 1.25, 9.0])), [[1, 0], [0.75, 0.25], [0, 1]]
    )


def test_nodes_of_a_v_interpolate_to_rounding():
    for top in (0.5, 1.0, 3.0, 6.0):
        nodes = a_v_nodes(0.0, top)
        at = np.linspace(0, top, 201)
        for steepness in (0.3, 1.0, 4.0):
            exact = 10 ** (-0.4 * steepness * at)
            assert np.abs(barycentric_weights(nodes, at) @ 10 ** (-0.4 * steepness * nodes) - exact).max() < 2e-13
    assert a_v_nodes(0.2, 0.2).tolist() == [0.2]
    np.testing.assert_array_equal(barycentric_weights(nodes, nodes), np.eye(nodes.size))


def test_distance_moves_fluxes_and_nothing_else():
    near, far = (make_tables(SedModel(), BANDS, 0.00219, distance=d * u.Mpc) for d in (9.9, 19.8))
    np.testing.assert_allclose(near.stellar, 4 * far.stellar, rtol=1e-13)
    at_zero = make_tables(SedModel(mode="compat"), BANDS, 0.0, distance=9.9)
    p = {"age": [5.0], "log_mass_formed": [4.0], "metallicity": [1.0], "a_v": [0.3], "log_u": [-2.5]}
    expected = model_fluxes(SedModel(mode="compat"), BANDS, 0.0, p, distance=9.9, with_v=True)
    np.testing.assert_allclose(summed(at_zero, at_zero.model, p), expected, rtol=1e-12)


def test_absolute_magnitudes_are_those_of_the_source():
    """M_V of a cluster does not depend on where it is, and a young 1e4 Msun one has about -10."""
    p = {"age": [5.0], "log_mass_formed": [4.0], "metallicity": [1.0], "a_v": [0.0], "log_u": [-2.5]}
    found = []
    for mode in ("compat", "fine"):
        model = SedModel(mode=mode)
        for z in (0.5, 3.0):
            tables = make_tables(model, BANDS, z)
            flux = summed(tables, model, p)[0, -1]
            found.append(31.4 - 2.5 * np.log10(flux) + tables.magnitude_offset)
    np.testing.assert_allclose(np.diff(found)[[0, 2]], 0.0, atol=1e-6)
    # [O III] lies at the edge of V, where pixels of R = 100 are as wide as the edge.
    assert found[0] == pytest.approx(found[2], abs=0.1)
    assert -11 < found[0] < -9


def test_another_cosmology_is_for_the_fine_mode():
    # Named, but the same numbers: no other cosmology.
    same = FlatLambdaCDM(H0=70, Om0=0.3, name="ours")
    plain = make_tables(SedModel(mode="compat"), BANDS, 2.0)
    np.testing.assert_array_equal(
        make_tables(SedModel(mode="compat"), BANDS, 2.0, cosmology=same).stellar, plain.stellar
    )
    with pytest.raises(InputError, match="bagpipes, whose cosmology is flat"):
        make_tables(SedModel(mode="compat"), BANDS, 2.0, cosmology=Planck18)
    fine, other = (make_tables(SedModel(), BANDS, 2.0, cosmology=c) for c in (None, Planck18))
    ratio = (fine.luminosity_distance / other.luminosity_distance) ** 2
    np.testing.assert_allclose(other.stellar[:40], ratio * fine.stellar[:40], rtol=1e-12)


def test_what_makes_no_sense_is_refused_in_words():
    model = SedModel(mode="compat")
    for z, told in (
        (10.5, "beyond bagpipes' limit"),
        (-0.1, "in the future"),
        (np.nan, "finite"),
        ([1.0, 2.0], "one redshift"),
    ):
        with pytest.raises(InputError, match=told):
            make_tables(model, BANDS, z)
    with pytest.raises(InputError, match="before which no star"):
        make_tables(SedModel(), BANDS, 50.0)
    with pytest.raises(InputError, match="give distance"):
        make_tables(model, BANDS, 0.0)
    with pytest.raises(InputError, match="luminosity distance above zero"):
        make_tables(model, BANDS, 0.1, distance=-3)
    with pytest.raises(InputError, match="F999W"):
        make_tables(model, ["F999W"], 1.0)
    with pytest.raises(InputError, match="no bands"):
        make_tables(model, [], 1.0)
    for wrong in ((1.0, 0.0), (0.0, 50.0), (0.0,), (0.0, np.nan)):
        with pytest.raises(InputError, match="a_v_range"):
            make_tables(model, BANDS, 1.0, a_v_range=wrong)
    with pytest.raises(InputError, match="log U from -4 to 0"):
        make_tables(model, BANDS, 1.0, log_u_range=(-5, -1))
    with pytest.raises(InputError, match="n_av"):
        make_tables(model, BANDS, 1.0, n_av=1)


def test_a_library_without_gas_or_too_narrow_is_refused_in_words(made_library):
    given = made_library()
    bare = load_library(given["source"], metallicities=(0.2, 1.0))
    with pytest.raises(InputError, match="no nebular grids"):
        make_tables(SedModel(library=bare), BANDS, 1.0)
    make_tables(SedModel(library=bare, nebular=False), BANDS, 1.0)
    wave = np.geomspace(3000, 20_000, 500)
    narrow = made_library(wave=wave, spectra=[np.ones((108, 500)), np.ones((108, 500))])
    library = load_library(narrow["source"], metallicities=(0.2, 1.0))
    with pytest.raises(InputError, match="leave the band out"):
        make_tables(SedModel(library=library, nebular=False), BANDS, 1.0)


def test_a_made_library_gives_the_fluxes_that_were_put_in(made_library):
    """A power law stays one through any filter; Z^1 and age^-0.5 are those of the library."""
    library = load_library(**made_library())
    model = SedModel(library=library, nebular=False, sfh="burst", dust_emission=False)
    frame = frame_at("fine", 0.5)
    p = {"age": 10 ** np.array([2.0, 2.6]), "log_mass_formed": 6.0, "metallicity": [0.2, 1.0], "a_v": 0.0}
    fluxes = model_fluxes(model, BANDS[1:], 0.5, p)
    # lambda^-2 per wavelength is flat per frequency: L_nu = lambda^2 L_lambda / c.
    luminosity = 1e6 * np.array([0.2, 1.0]) * 10 ** np.array([-4.0, -4.3]) * 5500.0**2 / 2.99792458e18 * 3.826e33
    expected = luminosity * (1.5) ** 2 / frame.dimming / 1e-32
    # 3000 samples of a curved law: straight lines between them are 3e-7 above it.
    np.testing.assert_allclose(fluxes, np.repeat(expected[:, None], 4, axis=1), rtol=2e-6)


def test_a_library_with_holes_is_refused_in_words(made_library, empty_cache):
    given = made_library()
    with fits.open(given["source"], mode="update") as hdus:
        hdus[2].data[40, 1000:1003] = np.nan
    for mode in ("compat", "fine"):
        with pytest.raises(InputError, match="not finite"):
            make_tables(SedModel(library=load_library(**given), mode=mode, nebular=False), BANDS, 1.0)


def test_the_folder_of_bagpipes_is_only_read(empty_cache):
    folder = grid_folder()
    before = sorted((each.name, each.stat().st_mtime_ns) for each in folder.iterdir())
    for mode in ("compat", "fine"):
        make_tables(SedModel(mode=mode), BANDS, 3.3)
    assert sorted((each.name, each.stat().st_mtime_ns) for each in folder.iterdir()) == before


# ---- keeping them --------------------------------------------------------------------------
def test_tables_are_kept_in_memory_and_on_disk(empty_cache, monkeypatch):
    model = SedModel(mode="compat")
    first = make_tables(model, BANDS, 1.234)
    assert make_tables(model, BANDS, 1.234) is first
    module.clear_tables()
    monkeypatch.setattr(module, "build", lambda *_: pytest.fail("was made again"))
    again = make_tables(model, BANDS, 1.234)
    np.testing.assert_array_equal(again.stellar, first.stellar)
    np.testing.assert_array_equal(again.nebular, first.nebular)
    # Another history shares the numbers, and says its own name.
    assert make_tables(SedModel(mode="compat", tau=10.0), BANDS, 1.234).model.tau == 10.0


def test_a_damaged_or_foreign_file_in_the_cache_is_made_again(empty_cache):
    model = SedModel(mode="compat")
    first = make_tables(model, BANDS, 1.234)
    files = sorted(empty_cache.rglob("*.np?"))
    assert len(files) == 3  # stars, gas, and the table
    for damage in (b"", b"PK\x03\x04 no archive"):
        for path in files:
            path.write_bytes(damage)
        module.clear_tables()
        from sc_lab.sed import _basis

        _basis._COMPAT.clear()
        np.testing.assert_array_equal(make_tables(model, BANDS, 1.234).stellar, first.stellar)


def test_without_a_place_to_write_tables_are_made_all_the_same(tmp_path, monkeypatch):
    from sc_lab.sed import _basis, _store

    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    for each in (_basis, module):
        monkeypatch.setattr(each, "cache_folder", lambda: blocked / "sed")
    module.clear_tables()
    assert make_tables(SedModel(mode="compat"), BANDS, 1.235).n_bin == 38
    assert not _store.save_array(blocked / "x.npy", np.zeros(2))


def test_memory_has_a_limit(monkeypatch):
    module.clear_tables()
    monkeypatch.setattr(module, "_limit", 3_000_000)
    for z in np.linspace(1, 2, 8):
        last = make_tables(SedModel(mode="compat"), BANDS, z)
    assert sum(each.nbytes for each in module._KEPT.values()) <= 3_000_000
    assert next(reversed(module._KEPT.values())) is last
    module.set_memory_limit(1)
    assert len(module._KEPT) == 1


def test_threads_get_the_same_table(empty_cache):
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: make_tables(SedModel(mode="compat"), BANDS, 2.468), range(12)))
    assert all(each is found[0] for each in found)


def test_two_processes_at_once_do_not_disturb_each_other(empty_cache):
    code = (
        "from sc_lab.sed import SedModel, make_tables; import numpy as np; "
        "print(sum(make_tables(SedModel(mode='compat'), ['F150W'], z).stellar.sum() for z in np.arange(1, 3, 0.2)))"
    )
    runs = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    texts = [run.communicate(timeout=120)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert texts[0] == texts[1] != ""
