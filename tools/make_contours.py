"""Compute the packaged contours of local populations from the full published tables.

Usage: python tools/make_contours.py FOLDER [OUT]

FOLDER holds the tables as ECSV (file names in POPULATIONS and MAGNITUDES below); OUT is the folder of the packaged files,
sc_lab/reference/data by default: local_contours.ecsv in the density-size plane and local_magnitudes.ecsv in the
size-magnitude plane. The same tables give the same bytes.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import contourpy
import numpy as np
import numpy.typing as npt
from astropy.table import Table, vstack
from scipy.stats import gaussian_kde

LEVELS = (0.68, 0.95)
#: Cells a side of the grid on which the density is drawn; finer moves no contour by 0.001 dex.
CELLS = 300
#: Largest distance of a dropped vertex from the polyline that stays [dex].
TOLERANCE = 0.002


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the points of one population are taken from its tables."""

    files: tuple[tuple[str, str, str, str], ...]  # file, radius column, log-density column, flag column
    label: str
    citation: str
    selection: str


POPULATIONS: dict[str, Recipe] = {
    "ysc": Recipe(
        files=(("ysc_legus_brown_gnedin_2021.ecsv", "r_eff", "log_sigma_h", "reliable"),),
        label="young star clusters",
        citation="Brown & Gnedin 2021, MNRAS 508, 5935 (LEGUS)",
        selection="rows with reliable radius and mass",
    ),
    "gc_mw": Recipe(
        files=(("gc_mw_baumgardt_2019.ecsv", "r_hl", "log_sigma_hl", ""),),
        label="Milky Way globular clusters",
        citation="Baumgardt & Hilker 2018, MNRAS 478, 1520; Baumgardt et al. 2019, MNRAS 482, 5138",
        selection="all rows; projected half-light radii",
    ),
    "nsc": Recipe(
        files=(
            ("nsc_georgiev_2016.ecsv", "r_eff", "log_sigma_h", "good_radius"),
            ("nsc_virgo_spengler_2017_cote_2006.ecsv", "r_eff", "log_sigma_h", ""),
            ("nsc_dynamical_masses_erwin_2012_nguyen_2018.ecsv", "r_eff", "log_sigma_h", ""),
        ),
        label="nuclear star clusters",
        citation=(
            "compiled as in Neumayer, Seth & Boeker 2020, A&ARv 28, 4: Georgiev et al. 2016, MNRAS 457, 2122; "
            "Spengler et al. 2017 with Cote et al. 2006; Erwin & Gadotti 2012; Nguyen et al. 2018"
        ),
        selection="Georgiev et al. rows whose radius passes the cut of the review; all others",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Shining:
    """How the radii and V magnitudes of one population are taken from its table."""

    file: str
    radius: str
    magnitude: str  # a column, or empty: from the mass and its ratio to the V light
    codes: tuple[int, ...]  # values of type_code that are taken; all rows where empty
    label: str
    citation: str
    selection: str


#: Absolute V magnitude of the Sun in the AB system (Willmer 2018, ApJS 236, 47).
SUN_V = 4.80
MAGNITUDES: dict[str, Shining] = {
    "gc_mw": Shining(
        file="gc_mw_baumgardt_2019.ecsv",
        radius="r_hl",
        magnitude="",
        codes=(),
        label="Milky Way globular clusters",
        citation="Baumgardt & Hilker 2018, MNRAS 478, 1520; Baumgardt et al. 2019, MNRAS 482, 5138",
        selection="all rows; projected half-light radii; V from dynamical mass over (M/L)_V, with the Sun at 4.80 AB mag",
    ),
    "compact": Shining(
        file="compact_stellar_systems_norris_2014.ecsv",
        radius="r_eff",
        magnitude="v_abs_mag",
        codes=(5, 6),
        label="globular clusters and UCDs",
        citation="Norris et al. 2014, MNRAS 443, 1151 (AIMSS)",
        selection="rows of globular clusters, ultra-compact dwarfs and the survey's own objects; V as published (Vega, "
        "within 0.02 mag of AB)",
    ),
}


def shining(folder: Path, recipe: Shining) -> npt.NDArray[np.float64]:
    """Return the objects of a population in the size-magnitude plane.

    Parameters
    ----------
    folder : Path
        Where the tables are.
    recipe : Shining
        What to take from them.

    Returns
    -------
    ndarray
        Shape (2, n): log10 r_eff [pc] and absolute V magnitude.
    """
    table = Table.read(folder / recipe.file, format="ascii.ecsv")

    def column(name: str) -> npt.NDArray[np.float64]:
        return np.asarray(np.ma.filled(np.ma.asarray(table[name], dtype=float), np.nan))

    by_mass = not recipe.magnitude
    magnitude = SUN_V - 2.5 * np.log10(column("mass") / column("ml_v")) if by_mass else column(recipe.magnitude)
    with np.errstate(divide="ignore", invalid="ignore"):
        xy = np.array([np.log10(column(recipe.radius)), magnitude])
    good = np.isfinite(xy).all(axis=0)
    if recipe.codes:
        good &= np.isin(np.asarray(table["type_code"]), recipe.codes)
    return xy[:, good]


def points(folder: Path, recipe: Recipe) -> npt.NDArray[np.float64]:
    """Return the objects of a population.

    Parameters
    ----------
    folder : Path
        Where the tables are.
    recipe : Recipe
        What to take from them.

    Returns
    -------
    ndarray
        Shape (2, n): log10 r_eff [pc] and log10 surface density [Msun/pc2].
    """
    parts = []
    for file, radius, density, flag in recipe.files:
        table = Table.read(folder / file, format="ascii.ecsv")
        columns = [np.ma.filled(np.ma.asarray(table[name], dtype=float), np.nan) for name in (radius, density)]
        xy = np.array([np.log10(columns[0]), columns[1]])
        good = np.isfinite(xy).all(axis=0)
        if flag:
            good &= np.asarray(table[flag], dtype=bool)
        parts.append(xy[:, good])
    return np.concatenate(parts, axis=1)


def contours(xy: npt.NDArray[np.float64], level: float) -> list[npt.NDArray[np.float64]]:
    """Return the closed polylines around the densest region that holds a fraction of the objects.

    Parameters
    ----------
    xy : ndarray
        Shape (2, n).
    level : float
        Fraction of the objects inside.

    Returns
    -------
    list of ndarray
        Polylines of shape (m, 2), first vertex repeated at the end.

    Notes
    -----
    The density is a Gaussian kernel estimate (Scott's rule); its threshold is the quantile of
    the density at the objects themselves, so the fraction holds for them by construction.
    """
    kernel = gaussian_kde(xy)
    threshold = np.quantile(kernel(xy), 1 - level)
    low, high = xy.min(axis=1), xy.max(axis=1)
    margin = 0.25 * (high - low)
    x, y = (np.linspace(a - m, b + m, CELLS) for a, b, m in zip(low, high, margin, strict=True))
    density = kernel(np.array([each.ravel() for each in np.meshgrid(x, y)])).reshape(CELLS, CELLS)
    lines = contourpy.contour_generator(x, y, density).lines(threshold)
    return [np.round(_simplified(np.asarray(line)), 3) for line in lines]


def _simplified(line: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return a closed polyline without the vertices that lie on the straight between their neighbours."""
    half = len(line) // 2
    keep = np.zeros(len(line), dtype=bool)
    keep[[0, half, -1]] = True
    stack = [(0, half), (half, len(line) - 1)]
    while stack:
        first, last = stack.pop()
        if last - first < 2:
            continue
        chord = line[last] - line[first]
        offset = line[first + 1 : last] - line[first]
        distance = np.abs(chord[0] * offset[:, 1] - chord[1] * offset[:, 0]) / max(float(np.hypot(*chord)), 1e-12)
        worst = int(distance.argmax())
        if distance[worst] > TOLERANCE:
            middle = first + 1 + worst
            keep[middle] = True
            stack += [(first, middle), (middle, last)]
    return line[keep]


def build(folder: Path) -> Table:
    """Return the table of all contours in the density-size plane.

    Parameters
    ----------
    folder : Path
        Where the tables are.

    Returns
    -------
    Table
        One row a vertex.
    """
    found = {name: (recipe, points(folder, recipe)) for name, recipe in POPULATIONS.items()}
    table = _table(found, "log_sigma")
    table["log_sigma"].description = "decimal logarithm of mass / (2 pi r_eff^2) in Msun/pc2"
    table.meta["about"] = _ABOUT.format("(log r_eff, log sigma)")
    return table


def build_magnitudes(folder: Path) -> Table:
    """Return the table of all contours in the size-magnitude plane.

    Parameters
    ----------
    folder : Path
        Where the tables are.

    Returns
    -------
    Table
        One row a vertex.
    """
    found = {name: (recipe, shining(folder, recipe)) for name, recipe in MAGNITUDES.items()}
    table = _table(found, "abs_mag_v")
    table["abs_mag_v"].description = "absolute V magnitude"
    table.meta["about"] = _ABOUT.format("(log r_eff, M_V)")
    return table


_ABOUT = "highest-density contours of a Gaussian kernel estimate in {}, by tools/make_contours.py"


def _table(found: Mapping[str, tuple[Recipe | Shining, npt.NDArray[np.float64]]], second: str) -> Table:
    """Return contours of populations as a table of vertices."""
    parts, populations = [], {}
    for name, (recipe, xy) in found.items():
        populations[name] = {
            "label": recipe.label,
            "citation": recipe.citation,
            "selection": recipe.selection,
            "n": int(xy.shape[1]),
        }
        for level in LEVELS:
            for number, line in enumerate(contours(xy, level)):
                rows = len(line)
                parts.append(
                    Table(
                        {
                            "population": [name] * rows,
                            "level": [level] * rows,
                            "line": [number] * rows,
                            "log_r_eff": line[:, 0],
                            second: line[:, 1],
                        }
                    )
                )
    table = vstack(parts)
    table["level"].description = "fraction of the objects inside"
    table["line"].description = "number of the closed polyline within its level"
    table["log_r_eff"].description = "decimal logarithm of the projected half-light radius in pc"
    table.meta = {"about": "", "populations": populations}
    return table


def main() -> None:
    """Write the packaged files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    default = Path(__file__).parents[1] / "sc_lab/reference/data"
    parser.add_argument("out", type=Path, nargs="?", default=default)
    given = parser.parse_args()
    for name, table in (("local_contours", build(given.folder)), ("local_magnitudes", build_magnitudes(given.folder))):
        table.write(given.out / f"{name}.ecsv", format="ascii.ecsv", delimiter=",", overwrite=True)


if __name__ == "__main__":
    main()
