"""Synthetic clusters behind any lens, seen through any PSFs: fields for end-to-end tests of detection, fit and lens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from astropy.table import QTable
from scipy.spatial import cKDTree

from sc_lab.cosmology import default_cosmology
from sc_lab.errors import InputError
from sc_lab.images import Psf
from sc_lab.images.band import Band
from sc_lab.images.fitsfiles import ArrayPixels
from sc_lab.mock.field import MockField, tangent_wcs
from sc_lab.mock.lens import Images, Lattice
from sc_lab.mock.light import SOLAR, draw_gas, light
from sc_lab.mock.noise import observe, sharpness, sky_noise
from sc_lab.mock.psfs import FILTERS, SyntheticPsf
from sc_lab.mock.rendering import Canvas, Gaussians
from sc_lab.mock.scene import HALF_LIGHT
from sc_lab.units import FloatArray, value_in

if TYPE_CHECKING:
    from sc_lab.lensing import LensModel

__all__ = ["make_clusters"]

_STREAM = 64
_ARCSEC_PER_RADIAN = 180.0 / np.pi * 3600.0
#: Step of the lattice on which images are looked for [arcsec], and how far it reaches beyond the field.
_STEP, _MARGIN = 0.1, 2.0
#: Images this close to a critical curve are no ellipses, and others fainter than this share of the first add nothing.
_MU_RANGE = (1.3, 40.0)
#: No image of a cluster is larger than this standard deviation [px]: in a 9 px box larger ones are lost in the plane.
_LARGEST = 2.5
#: Models of star clusters begin above 1 Myr.
_YOUNGEST = 1.5


def make_clusters(
    lens: LensModel,
    psfs: Mapping[str, Psf],
    *,
    seed: int = 1,
    size: Any = 30.0 * u.arcsec,
    offset: tuple[float, float] = (0.0, 0.0),
    n: int = 300,
    redshifts: Sequence[float] = (1.0, 2.0, 3.0, 4.0, 6.0),
    snr: tuple[float, float] = (5.0, 100.0),
    largest: float = 1.8,
    separation: float = 18.0,
    host: float = 1.0,
    reference: str = "F150W",
    correlated: bool = False,
    populations: Mapping[str, Any] | None = None,
) -> MockField:
    """Make a field of well-separated lensed clusters of known size, mass and place.

    Parameters
    ----------
    lens : LensModel
        Any lens model.
    psfs : mapping of str to Psf
        PSFs by band, one of them of ``reference``; one pixel scale for all, which is that of the mosaics.
    seed : int
        The same seed gives the same field.
    size : `~astropy.units.Quantity` or float
        Side of the field [arcsec].
    offset : tuple of float
        Centre of the field from the reference position of the lens [arcsec], West and North.
    n : int
        Number of sources wanted; fewer where no more fit in.
    redshifts : sequence of float
        Redshifts of the sources, in turn.
    snr : tuple of float
        Range of the matched-filter S/N of the first image of each source, log-uniform.
    largest : float
        The geometric mean width of that image is uniform from 0 to this [px].
    separation : float
        Images are at least this far apart [px].
    host : float
        Surface brightness of the round Gaussian host under each image: uniform from 0 to this many standard
        deviations of the sky's noise per pixel. Its width is 0.3 arcsec.
    reference : str
        Band of the S/N.
    correlated : bool
        Whether the noise of neighbouring pixels is correlated.
    populations : mapping of str to array_like, optional
        Stars of the sources in turn, ``n`` of each or more: ``age_onset`` [Myr], ``a_v`` [mag], absolute
        ``metallicity`` and ``log_u``, as columns of a table or bare numbers. What is not given is drawn.

    Returns
    -------
    MockField
        With ``truth`` as of `sc_lab.mock.make_field`.

    Raises
    ------
    InputError
        If an option cannot be used.

    Notes
    -----
    Sources are round Gaussians, imaged by the Jacobian at their centres, and painted by `sc_lab.mock.rendering`,
    which shares nothing with the renderer of the fits but the PSF's stamp. Masses are those that give the S/N for
    the stellar population (`sc_lab.mock.light`).
    """
    bands = bands_of(psfs, reference)
    scale = bands[reference][1].pixel_scale
    side = round(float(value_in(size, u.arcsec, "size")) / scale) * scale
    draw = np.random.default_rng([_STREAM, seed])
    pixels = round(side / scale)
    wcs = tangent_wcs(pixels, scale, *(float(part) for part in lens.to_sky(*offset)))
    reach = np.arange(-side / 2 - _MARGIN, side / 2 + _MARGIN + _STEP / 2, _STEP)
    lattice = Lattice.make(lens, *np.meshgrid(offset[0] + reach, offset[1] + reach))
    found, z, source = placed(lattice, offset, side - 40 * scale, scale * separation, n, redshifts, draw)

    first = np.unique(source, return_index=True)[1]
    count = len(first)
    mu, inverse = found.mu, np.linalg.inv(found.matrix)
    # Sizes: the geometric mean width of the first image sets that of the source.
    width = draw.uniform(0.0, largest, count) * scale / np.sqrt(np.abs(mu[first]))
    stretch = np.linalg.norm(inverse, ord=2, axis=(1, 2))
    width = np.minimum(width, _LARGEST * scale / np.maximum.reduceat(stretch, first))
    cov = width[source, None, None] ** 2 * np.einsum("nij,nkj->nik", inverse, inverse)

    psf, noise = {}, {}
    for name, (given, band) in bands.items():
        psf[name] = SyntheticPsf.from_stamp(given.stamp, scale, band=name, energy=given.energy_fraction)
        noise[name] = sky_noise(band, psf[name], correlated=correlated)[0]
    target = np.exp(draw.uniform(np.log(snr[0]), np.log(snr[1]), count))
    sharp = sharpness(cov, psf[reference], scale, correlated=correlated)
    wanted = target * noise[reference] / sharp[first] / np.abs(mu[first])
    age, dust = (
        np.clip(10.0 ** draw.normal(1.2, 0.5, count), _YOUNGEST, None),
        np.minimum(draw.exponential(0.15, count), 0.8),
    )
    order = list(bands)
    # Metals and gas from a stream of their own: fields stay what they were before these were drawn.
    metallicity, log_u = draw_gas(np.random.default_rng([_STREAM, seed, len(FILTERS)]).standard_normal((count, 2)))
    if populations is not None:
        drawn = {"age_onset": age, "a_v": dust, "metallicity": SOLAR * metallicity, "log_u": log_u}
        age, dust, metallicity, log_u = _given(populations, drawn).values()
        metallicity = metallicity / SOLAR
    shining = light(z[first], age, dust, metallicity, log_u, bands=order)
    per_sun = shining.flux
    mass = wanted / per_sun[:, order.index(reference)]
    flux = (mass[:, None] * per_sun)[source] * np.abs(mu)[:, None]

    hosts = len(source)
    place = wcs.wcs_world2pix(*lens.to_sky(found.x, found.y), 0)
    shift = draw.normal(0.0, 0.1, (2, hosts))
    brightness = draw.uniform(0.0, host, hosts)
    host_cov = np.broadcast_to(0.3**2 * np.eye(2), (hosts, 2, 2))
    corner = [(np.asarray(part) + 0.5) * scale for part in place]
    gaussians = Gaussians(
        np.concatenate([corner[0], corner[0] + shift[0]]),
        np.concatenate([corner[1], corner[1] + shift[1]]),
        np.concatenate([cov, host_cov]),
    )
    canvas = Canvas((pixels, pixels), scale, gaussians)
    mosaics = []
    for column, name in enumerate(order):
        given, band = bands[name]
        below = brightness * noise[name] * 2.0 * np.pi * (0.3 / scale) ** 2
        picture = canvas.paint(np.concatenate([flux[:, column], below]), psf[name])
        chance = np.random.default_rng([_STREAM, seed, column])
        data, error = observe(picture, band, psf[name], chance, noise=True, correlated=correlated)
        mosaics.append(Band(name, ArrayPixels(data), wcs, to_njy=1.0, psf=given, error=ArrayPixels(error)))

    table = QTable()
    table["id"] = [f"c{k}.{j}" for k, j in zip(source, np.arange(len(source)) - first[source] + 1, strict=True)]
    table["kind"] = np.full(len(source), "clump")
    table["source"] = source
    ra, dec = lens.to_sky(found.x, found.y)
    table["ra"], table["dec"] = ra * u.deg, dec * u.deg
    table["x"], table["y"] = place
    table["z"] = z
    pc = default_cosmology().angular_diameter_distance(z).to_value(u.pc) / _ARCSEC_PER_RADIAN
    table["mass"], table["age_onset"], table["a_v"] = mass[source] * u.Msun, age[source] * u.Myr, dust[source] * u.mag
    table["metallicity"], table["log_u"] = SOLAR * metallicity[source], log_u[source]
    table["abs_mag_v"] = (shining.abs_mag_v - 2.5 * np.log10(mass))[source] * u.mag
    table["r_eff"] = width[source] * HALF_LIGHT * pc * u.pc
    trace = found.matrix[:, 0, 0] + found.matrix[:, 1, 1]
    shear = np.hypot(found.matrix[:, 0, 0] - found.matrix[:, 1, 1], 2.0 * found.matrix[:, 0, 1])
    table["mu"], table["mu_t"], table["mu_r"] = mu, 2.0 / (trace - shear), 2.0 / (trace + shear)
    for column, name in enumerate(order):
        table[f"flux_{name.lower()}"] = flux[:, column] * u.nJy
    for name, (i, j) in {"cov_xx": (0, 0), "cov_yy": (1, 1), "cov_xy": (0, 1)}.items():
        table[name] = cov[:, i, j] / scale**2
    table["snr"] = flux[:, order.index(reference)] * sharp / noise[reference]
    return MockField(mosaics, name=f"mock clusters, seed {seed}", reference=reference, lenses=(lens,), truth=table)


def _given(populations: Mapping[str, Any], drawn: dict[str, FloatArray]) -> dict[str, FloatArray]:
    """Return the stars of the sources: those given, else those drawn."""
    unknown = sorted(set(populations) - set(drawn))
    if unknown:
        msg = f"populations has {', '.join(unknown)}; it can hold {', '.join(drawn)}"
        raise InputError(msg)
    units = {"age_onset": u.Myr, "a_v": u.mag}
    out = dict(drawn)
    for name, given in populations.items():
        values = value_in(given, units.get(name, u.one), f"populations[{name!r}]")
        if values.ndim != 1 or len(values) < len(drawn[name]) or not np.isfinite(values).all():
            msg = (
                f"populations[{name!r}] has the shape {values.shape}; give a finite number for each of "
                f"{len(drawn[name])} sources"
            )
            raise InputError(msg)
        out[name] = values[: len(drawn[name])]
    return out


def bands_of(psfs: Mapping[str, Psf], reference: str) -> dict[str, tuple[Psf, Any]]:
    """Return PSF and depth of each band, or refuse in words."""
    names = {str(name).upper(): psf for name, psf in psfs.items()}
    unknown = [name for name in names if name not in FILTERS]
    if unknown or reference not in names:
        msg = (
            f"psfs are given for {', '.join(names) or 'no band'}; the reference is {reference}, "
            f"and the known bands are {', '.join(FILTERS)}"
        )
        raise InputError(msg)
    scales = {name: psf.pixel_scale for name, psf in names.items()}
    if np.ptp(list(scales.values())) > 1e-6 * scales[reference]:
        msg = f"the PSFs have pixels of {scales} arcsec; give PSFs of one pixel scale, that of the mosaics"
        raise InputError(msg)
    return {name: (psf, replace(FILTERS[name], pixel_scale=scales[reference])) for name, psf in names.items()}


def placed(
    lattice: Lattice,
    offset: tuple[float, float],
    side: float,
    apart: float,
    n: int,
    redshifts: Sequence[float],
    rng: np.random.Generator,
) -> tuple[Images, FloatArray, Any]:
    """Return images of sources, none too close to another, with their redshifts and numbers from 0."""
    taken = np.empty((0, 2))
    parts: list[Images] = []
    z: list[FloatArray] = []
    numbers: list[Any] = []
    made = 0
    for turn in range(40):
        redshift = float(redshifts[turn % len(redshifts)])
        efficiency = float(lattice.lens.efficiency(redshift))
        x = offset[0] + rng.uniform(-side / 2, side / 2, max(n // 4, 20))
        y = offset[1] + rng.uniform(-side / 2, side / 2, len(x))
        alpha_x, alpha_y = lattice.lens.unit_deflection(x, y)
        found = lattice.images(x - efficiency * alpha_x, y - efficiency * alpha_y, redshift)
        good = (np.abs(found.mu) > _MU_RANGE[0]) & (np.abs(found.mu) < _MU_RANGE[1])
        good &= (np.abs(found.x - offset[0]) < side / 2) & (np.abs(found.y - offset[1]) < side / 2)
        for k in range(len(x)):
            own = np.flatnonzero(found.source == k)
            kept = own[good[own]]
            if made >= n or not len(kept) or not good[own].all():
                continue
            new = np.stack([found.x[kept], found.y[kept]], axis=-1)
            both = np.concatenate([taken, new])
            if len(both) > 1 and cKDTree(both).query(new, k=2)[0][:, 1].min() < apart:
                continue
            taken = both
            parts.append(Images(found.source[kept], found.x[kept], found.y[kept], found.matrix[kept]))
            z.append(np.full(len(kept), redshift))
            numbers.append(np.full(len(kept), made))
            made += 1
        if made >= n:
            break
    if not parts:
        msg = (
            "no cluster found a place in the field; make it larger, or put its centre (offset) where the lens "
            "magnifies 1.3 to 40 times"
        )
        raise InputError(msg)
    joined = Images(
        *(np.concatenate([getattr(each, name) for each in parts]) for name in ("source", "x", "y", "matrix"))
    )
    return joined, np.concatenate(z), np.concatenate(numbers)
