"""Simulated star clusters behind a lens: their own stars, painted with the light of their ages, as a telescope sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from astropy.table import QTable

from sc_lab.cosmology import default_cosmology
from sc_lab.errors import InputError
from sc_lab.images import Psf
from sc_lab.images.band import Band
from sc_lab.images.fitsfiles import ArrayPixels
from sc_lab.images.galaxy import Galaxy
from sc_lab.mock.clusters import bands_of, placed
from sc_lab.mock.field import MockField, tangent_wcs
from sc_lab.mock.lens import Lattice
from sc_lab.mock.light import GLOBULARS, SOLAR, light
from sc_lab.mock.noise import observe, sharpness, sky_noise
from sc_lab.mock.psfs import SyntheticPsf
from sc_lab.mock.rendering import Canvas, Gaussians
from sc_lab.simulations import _checks as check
from sc_lab.simulations.binding import unwrap
from sc_lab.simulations.stars import given_ages, star_ages, wind_cells
from sc_lab.units import FloatArray, value_in

if TYPE_CHECKING:
    from sc_lab.lensing import LensModel
    from sc_lab.simulations import Groups, Snapshot

__all__ = ["observe_simulated"]

_STREAM = 65
_ARCSEC_PER_RADIAN = 180.0 / np.pi * 3600.0
_STEP, _MARGIN = 0.1, 2.0
#: Nodes of age [Myr] and metallicity [solar] at which the light of stars is worked out; a star has that of the nearest.
_AGES = np.geomspace(1.05, 13000.0, 140)
_METALS = np.geomspace(0.005, 2.0, 8)
_STARS = 4
#: Images keep 30 pixels from the edges of the field; there must be room between.
_FEWEST_PIXELS = 80
_METAL_FIELDS = ("GFM_Metallicity", "Metallicity")


def _lens(value: Any, name: str) -> None:
    """Refuse what images nothing."""
    if not all(hasattr(value, each) for each in ("z_lens", "to_sky")):
        msg = f"{name} is a {type(value).__name__}; give a lens model, such as read_lenstool makes"
        raise InputError(msg)


def _psfs(value: Any, name: str) -> None:
    """Refuse what are no PSFs by band."""
    if not isinstance(value, Mapping) or not value or not all(isinstance(each, Psf) for each in value.values()):
        msg = f"{name} is a {type(value).__name__}; give a mapping of bands to Psf, at least one"
        raise InputError(msg)


@check.checked(
    snapshot=check.snapshot,
    groups=check.groups,
    clusters=check.table("id", "group"),
    lens=_lens,
    psfs=_psfs,
    z=check.optional(check.scalar(0.0, "one redshift beyond the lens", closed=False, high=1100.0)),
    n=check.optional(check.count(low=1)),
    seed=check.count(),
    size=check.positive(u.arcsec, words="the side of the field in arcsec, above 0"),
    offset=check.array(u.arcsec, words="two offsets from the lens in arcsec, West and North", shape=(2,)),
    metallicity=check.scalar(0.0, "a mass fraction from 0 to 0.1", high=0.1),
    a_v=check.scalar(0.0, "a number of magnitudes from 0 on", unit=u.mag),
    log_u=check.scalar(-10.0, "a logarithm such as -2", high=10.0),
    deeper=check.scalar(-30.0, "a number of magnitudes, such as 0", unit=u.mag, high=30.0),
    separation=check.scalar(0.0, "a distance of 0 or more pixels"),
    most_stars=check.count(low=1),
    reference=check.text,
)
def observe_simulated(
    snapshot: Snapshot,
    groups: Groups,
    clusters: QTable,
    lens: LensModel,
    psfs: Mapping[str, Psf],
    *,
    z: float | None = None,
    n: int | None = None,
    seed: int = 1,
    size: Any = 30.0 * u.arcsec,
    offset: tuple[float, float] = (0.0, 0.0),
    ages: Any = None,
    metallicity: float = 0.004,
    a_v: float = 0.0,
    log_u: float = -2.0,
    deeper: float = 0.0,
    separation: float = 24.0,
    most_stars: int = 400,
    reference: str = "F150W",
) -> MockField:
    """Return a mosaic of simulated clusters behind a lens model.

    Parameters
    ----------
    snapshot : Snapshot
        The particles.
    groups : Groups
        Its groups, from `sc_lab.simulations.find_groups`.
    clusters : QTable
        Those to observe, from `sc_lab.simulations.measure_clusters` with these groups.
    lens : LensModel
        Any lens model.
    psfs : mapping of str to Psf
        PSFs by band; one pixel scale for all, which is that of the mosaics.
    z : float, optional
        Redshift to put them at; that of the snapshot by default. Sizes stay what they are in parsec.
    n : int, optional
        Clusters wanted: the catalogue in turn, each time from another side; once through it by default.
    seed : int
        The same seed gives the same field.
    size : `~astropy.units.Quantity` or float
        Side of the field [arcsec].
    offset : tuple of float
        Centre of the field from the reference position of the lens [arcsec], West and North.
    ages : array_like or float, optional
        Ages of all stars of the snapshot [Myr], or one for all; by default from the file.
    metallicity : float
        Absolute metallicity of stars in files that do not say it.
    a_v, log_u : float
        Dust [mag] and ionisation parameter of the gas of young stars.
    deeper : float
        Magnitudes by which the mosaics are deeper than those of GLIMPSE.
    separation : float
        Images are at least this far apart [px].
    most_stars : int
        Clusters with more stars are painted with a random choice of them that carries all the light.
    reference : str
        Band of the S/N.

    Returns
    -------
    MockField
        With one galaxy that covers the field, the lens, and ``truth``, one row for each image: ``id``, ``cluster`` (row
        of the catalogue), ``source``, ``z``, ``mass`` [Msun], ``r_eff`` and ``r_eff_mass`` [pc]: the radii around half
        of the light and of the mass from the side it is seen from, ``sigma_mass`` = M / (2 pi r_eff^2),
        ``age_onset``, ``age_mw`` [Myr], ``mu``, ``mu_t``, ``snr``, ``x``, ``y`` [px] and unlensed ``flux_<band>``
        times mu [nJy].

    Raises
    ------
    InputError
        If there are no clusters, stars have no ages, or nothing finds a place.

    Notes
    -----
    Every star is an instantaneous burst of its age and metallicity (Williams et al. 2025 compare masses; the light is
    that of `sc_lab.sed`). Its place from the cluster's centre is imaged by the Jacobian of the lens at the centre of the
    image, so arcs of the largest clusters are straight. Wind cells among the stars have no light. What is painted shares
    nothing with the renderer of the fits but the PSF's stamp.
    """
    if not len(clusters):
        msg = "there are no clusters to observe; lower min_stars in measure_clusters, or link with a larger b"
        raise InputError(msg)
    deeper, a_v = (float(value_in(each, u.mag, "deeper")) for each in (deeper, a_v))
    offset = tuple(value_in(offset, u.arcsec, "offset").tolist())
    at = float(snapshot.header.redshift if z is None else z)
    if not at > float(lens.z_lens):
        msg = f"the clusters are at z = {at:g}, not behind the lens at {float(lens.z_lens):g}; give z= beyond it"
        raise InputError(msg)
    bands = {
        name: (psf, replace(band, depth=band.depth + deeper)) for name, (psf, band) in bands_of(psfs, reference).items()
    }
    scale = bands[reference][1].pixel_scale
    side = round(float(value_in(size, u.arcsec, "size")) / scale) * scale
    pixels = round(side / scale)
    if pixels < _FEWEST_PIXELS:
        msg = f"size is {size}, {pixels} pixels of {scale:g} arcsec; give a field of at least {_FEWEST_PIXELS} pixels"
        raise InputError(msg)
    draw = np.random.default_rng([_STREAM, seed])
    wcs = tangent_wcs(pixels, scale, *(float(part) for part in lens.to_sky(*offset)))
    reach = np.arange(-side / 2 - _MARGIN, side / 2 + _MARGIN + _STEP / 2, _STEP)
    lattice = Lattice.make(lens, *np.meshgrid(offset[0] + reach, offset[1] + reach))
    wanted = len(clusters) if n is None else int(n)
    found, _, source = placed(lattice, offset, side - 60 * scale, scale * separation, wanted, [at], draw)
    first = np.unique(source, return_index=True)[1]
    count = len(first)

    order = list(bands)
    per_sun = _light_table(at, a_v, log_u, order)
    stars = _Stars.read(snapshot, ages, metallicity)
    which = np.arange(count) % len(clusters)
    seen = [_seen(stars, groups, clusters, int(row), per_sun, most_stars, draw) for row in which.tolist()]
    arcsec = _ARCSEC_PER_RADIAN / default_cosmology().angular_diameter_distance(at).to_value(u.pc)  # for each parsec

    inverse = np.linalg.inv(found.matrix)
    place = wcs.wcs_world2pix(*lens.to_sky(found.x, found.y), 0)
    xs, ys, fluxes = [], [], []
    for image in range(len(source)):
        one = seen[source[image]]
        # Offsets in the frame of the lens are West and North; pixels of the mosaic run the same way.
        moved = one["offset"] * arcsec @ inverse[image].T
        xs.append((place[0][image] + 0.5) * scale + moved[:, 0])
        ys.append((place[1][image] + 0.5) * scale + moved[:, 1])
        fluxes.append(one["flux"] * abs(found.mu[image]))
    x, y, flux = np.concatenate(xs), np.concatenate(ys), np.concatenate(fluxes)
    canvas = Canvas((pixels, pixels), scale, Gaussians(x, y, np.zeros((len(x), 2, 2))))
    mosaics, noise = [], {}
    psf = {
        name: SyntheticPsf.from_stamp(given.stamp, scale, band=name, energy=given.energy_fraction)
        for name, (given, _) in bands.items()
    }
    for column, name in enumerate(order):
        given, band = bands[name]
        noise[name] = sky_noise(band, psf[name])[0]
        picture = canvas.paint(flux[:, column], psf[name])
        chance = np.random.default_rng([_STREAM, seed, column])
        data, error = observe(picture, band, psf[name], chance, noise=True, correlated=False)
        mosaics.append(Band(name, ArrayPixels(data), wcs, to_njy=1.0, psf=given, error=ArrayPixels(error)))

    truth = _truth(found, source, first, place, seen, which, at, order)
    ra, dec = lens.to_sky(found.x, found.y)
    truth["ra"], truth["dec"] = ra * u.deg, dec * u.deg
    cov = np.stack(
        [_covariance(seen[s]["offset"] * arcsec @ inverse[k].T, seen[s]["flux"]) for k, s in enumerate(source)]
    )
    sharp = sharpness(cov, psf[reference], scale)
    truth["snr"] = truth[f"flux_{reference.lower()}"].value * sharp / noise[reference]
    corners = wcs.wcs_pix2world([2.0, pixels - 3.0, pixels - 3.0, 2.0], [2.0, 2.0, pixels - 3.0, pixels - 3.0], 0)
    home = Galaxy(id="field", contour=np.stack(corners, axis=1), z=at, z_spec=True)
    return MockField(
        mosaics,
        name=f"{snapshot.name} behind {lens.name}",
        reference=reference,
        lenses=(lens,),
        galaxies=(home,),
        truth=truth,
    )


def _light_table(z: float, a_v: float, log_u: float, bands: Sequence[str]) -> FloatArray:
    """Return the flux of a solar mass of stars [nJy] at the nodes of metallicity and age, shape (metals, ages, bands)."""
    metal, age = (part.ravel() for part in np.meshgrid(_METALS, _AGES, indexing="ij"))
    same = np.ones(len(age))
    # No star is older than the Universe then; such nodes are not used.
    oldest = default_cosmology().age(z).to_value(u.Myr)
    young = np.minimum(age, 0.999 * oldest)
    found = light(z * same, young, a_v * same, metal, log_u * same, bands=bands, model=GLOBULARS)
    return found.flux.reshape(len(_METALS), len(_AGES), -1)


@dataclass(frozen=True, eq=False)
class _Stars:
    """All stars of a snapshot, read once.

    Attributes
    ----------
    position : ndarray, shape (n, 3)
        Places [pc, physical].
    mass, age, metallicity : ndarray, shape (n,)
        Masses [Msun], ages [Myr], NaN where unknown and for wind cells, and metallicities [solar].
    box : float
        Side of the box [pc]; 0 for none.
    """

    position: FloatArray
    mass: FloatArray
    age: FloatArray
    metallicity: FloatArray
    box: float

    @classmethod
    def read(cls, snapshot: Snapshot, ages: Any, metallicity: float) -> _Stars:
        """Return the stars, with ages and metallicities of the file where none are given."""
        number = len(snapshot.stars)
        found = star_ages(snapshot) if ages is None else given_ages(snapshot, ages)
        if found is None:
            msg = (
                f"{snapshot.name} does not say when its stars formed; give ages=, one for all stars or one for each "
                f"of {number} [Myr]"
            )
            raise InputError(msg)
        name = next((each for each in _METAL_FIELDS if each in snapshot.stars.fields), None)
        metals = np.full(number, float(metallicity)) if name is None else np.asarray(snapshot.stars.code(name), float)
        # Wind cells have no light, whatever ages are given.
        found = np.where(wind_cells(snapshot), np.nan, np.asarray(found, dtype=float))
        if metals.ndim != 1 or not np.all(metals[np.isfinite(found)] >= 0):
            msg = f"metallicities of {snapshot.name} have the shape {metals.shape} or are negative; give mass fractions"
            raise InputError(msg)
        header = snapshot.header
        parsec = 1e3 * header.a / header.h * header.length_cm / 3.0856775814913673e21
        position = np.asarray(snapshot.stars.code("Coordinates"), dtype=float) * parsec
        mass = snapshot.stars["Masses"].to_value(u.Msun)
        return cls(position, mass, found, metals / SOLAR, header.box_size * parsec)


def _seen(
    stars: _Stars,
    groups: Groups,
    clusters: QTable,
    row: int,
    per_sun: FloatArray,
    most: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Return the stars of a cluster from a random side: offsets [pc], fluxes [nJy], and its true numbers."""
    rows = groups.members(int(clusters["group"][row]), _STARS)
    rows = rows[np.isfinite(stars.age[rows])]
    if not len(rows):
        msg = f"cluster {clusters['id'][row]} has no star with a known age; give ages="
        raise InputError(msg)
    position = unwrap(stars.position[rows], stars.position[rows[0]], stars.box)
    mass, own, metals = stars.mass[rows], stars.age[rows], stars.metallicity[rows]
    flux = mass[:, None] * per_sun[_nearest(_METALS, metals), _nearest(_AGES, own)]
    # A random side: two axes of a random rotation.
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    flat = (position - np.average(position, axis=0, weights=mass)) @ turn[:, :2]
    half_mass = _half_radius(flat, mass)  # about the centre of mass: a few bright stars far out would draw it away
    weight = flux.sum(axis=1)
    flat = flat - np.average(flat, axis=0, weights=weight)
    out = {
        "mass": float(mass.sum()),
        "r_eff": _half_radius(flat, weight),
        "r_eff_mass": half_mass,
        "age_onset": float(own.max()),
        "age_mw": float(np.average(own, weights=mass)),
        "light": flux.sum(axis=0),
    }
    if len(rows) > most:
        kept = rng.choice(len(rows), most, replace=False)
        flat, flux = flat[kept], flux[kept] * (flux.sum(axis=0) / flux[kept].sum(axis=0))
    return out | {"offset": flat, "flux": flux}


def _nearest(nodes: FloatArray, values: FloatArray) -> Any:
    """Return the nearest node in the logarithm."""
    middle = np.sqrt(nodes[1:] * nodes[:-1])
    return np.searchsorted(middle, values)


def _half_radius(flat: FloatArray, weight: FloatArray) -> float:
    """Return the radius of the circle around half of the weight."""
    distance = np.hypot(flat[:, 0], flat[:, 1])
    order = np.argsort(distance, kind="stable")
    inside = np.cumsum(weight[order])
    return float(distance[order[np.searchsorted(inside, 0.5 * inside[-1])]])


def _covariance(flat: FloatArray, flux: FloatArray) -> FloatArray:
    """Return the covariance of the light [arcsec2], for the S/N of a matched filter."""
    weight = flux.sum(axis=1)
    centred = flat - np.average(flat, axis=0, weights=weight)
    return np.asarray((weight[:, None] * centred).T @ centred / weight.sum())


def _truth(
    found: Any,
    source: Any,
    first: Any,
    place: Sequence[FloatArray],
    seen: Sequence[Mapping[str, Any]],
    which: Any,
    z: float,
    bands: Sequence[str],
) -> QTable:
    """Return what is known of every image."""
    table = QTable()
    table["id"] = [f"s{k}.{j}" for k, j in zip(source, np.arange(len(source)) - first[source] + 1, strict=True)]
    table["cluster"] = which[source]
    table["source"] = source
    table["x"], table["y"] = place
    table["z"] = np.full(len(source), z)
    for name, unit in (
        ("mass", u.Msun),
        ("r_eff", u.pc),
        ("r_eff_mass", u.pc),
        ("age_onset", u.Myr),
        ("age_mw", u.Myr),
    ):
        table[name] = np.array([seen[s][name] for s in source]) * unit
    table["sigma_mass"] = table["mass"] / (2.0 * np.pi * table["r_eff"] ** 2)
    trace = found.matrix[:, 0, 0] + found.matrix[:, 1, 1]
    shear = np.hypot(found.matrix[:, 0, 0] - found.matrix[:, 1, 1], 2.0 * found.matrix[:, 0, 1])
    table["mu"], table["mu_t"] = found.mu, 2.0 / (trace - shear)
    for column, name in enumerate(bands):
        flux = np.array([seen[s]["light"][column] for s in source]) * np.abs(found.mu)
        table[f"flux_{name.lower()}"] = flux * u.nJy
    return table
