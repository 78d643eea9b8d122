"""A seeded mock of a lensing field in nine bands: pictures, errors, PSFs, lens, galaxies, and the truth behind them."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from astropy.table import QTable
from astropy.wcs import WCS
from scipy.interpolate import RectBivariateSpline
from scipy.special import gamma

from sc_lab.cosmology import default_cosmology, describe
from sc_lab.errors import InputError
from sc_lab.images import Field, Psf
from sc_lab.images.band import Band
from sc_lab.images.fitsfiles import ArrayPixels
from sc_lab.images.galaxy import Galaxy
from sc_lab.mock.lens import Lattice, make_lens
from sc_lab.mock.noise import observe, sharpness, sky_noise
from sc_lab.mock.psfs import FILTERS, Filter, synthesise_psf
from sc_lab.mock.rendering import Canvas, Gaussians
from sc_lab.mock.scene import (
    BETA,
    LOG_MC,
    MASS_LOW,
    Compact,
    Host,
    Member,
    Window,
    background,
    clumps,
    globulars,
    hosts,
    members,
    stars,
)
from sc_lab.units import FloatArray, value_in

if TYPE_CHECKING:
    from sc_lab.lensing import LensModel

__all__ = ["MockField", "make_field", "tangent_wcs"]

#: Where the picture is centred [arcsec West and North of the brightest galaxy]: the tangential critical curves of
#: redshifts 1 to 6 cross it.
_OFFSET = (8.5, 8.5)
_FINE, _BLOCK = 0.02, 5
#: The lattice of deflections reaches this far beyond the picture [arcsec].
_MARGIN = 3.0
_STAMP = 1.0
_SHORTEST, _LONGEST = 4.0, 60.0
#: Isophote of the contours in units of the sky's noise per pixel, their least area [arcsec2], and how far beyond one
#: a clump still belongs to it [arcsec].
_ISOPHOTE, _SMALLEST, _NEAR = 0.6, 0.1, 1.0
_STREAM = 63
_REFERENCE = "F150W"


class MockField(Field):
    """A field of which everything is known.

    Parameters
    ----------
    bands : iterable of Band
        As of `Field`.
    truth : `~astropy.table.QTable`, optional
        Every compact source; see `make_field`.
    members : `~astropy.table.QTable`, optional
        Galaxies of the cluster.
    hosts : `~astropy.table.QTable`, optional
        The smooth discs of the lensed galaxies, without their clumps: ``system``, ``z``, ``mass``, ``sfr`` (mean of
        the last 10 Myr), ``age_onset``, ``a_v`` and unmagnified ``flux_<band>``.
    **others
        As of `Field`.
    """

    def __init__(
        self,
        bands: Any,
        *,
        truth: QTable | None = None,
        members: QTable | None = None,
        hosts: QTable | None = None,
        **others: Any,
    ) -> None:
        super().__init__(bands, **others)
        self.truth = QTable() if truth is None else truth
        self.members = QTable() if members is None else members
        self.hosts = QTable() if hosts is None else hosts

    def replace(self, **changes: Any) -> MockField:
        """Return a copy with some things changed; pixels and truth are shared.

        Parameters
        ----------
        **changes
            As of `Field.replace`.

        Returns
        -------
        MockField
            The changed copy.
        """
        out = super().replace(**changes)
        assert isinstance(out, MockField)  # noqa: S101 - the base class keeps the type
        out.truth, out.members, out.hosts = self.truth, self.members, self.hosts
        return out


def make_field(
    *,
    seed: int = 1,
    size: Any = 30.0 * u.arcsec,
    bands: Sequence[str] | None = None,
    galaxies: int | None = None,
    noise: bool = True,
    correlated: bool = False,
) -> MockField:
    """Make a mock of a deep lensing field like GLIMPSE's.

    Parameters
    ----------
    seed : int
        The same seed gives the same field, whatever the bands and the number of threads.
    size : `~astropy.units.Quantity` or float
        Side of the square field [arcsec], 4 to 60; made a multiple of 0.2 arcsec. Memory goes as its square: 0.6 GB at 30.
    bands : sequence of str, optional
        Some of `sc_lab.mock.psfs.FILTERS`; None makes all nine.
    galaxies : int, optional
        Number of lensed galaxies with clumps; None makes 14 in 30 x 30 arcsec, 5 in 12 x 12.
    noise : bool
        Whether noise is added; the error maps are those of the noise in either case.
    correlated : bool
        Whether the noise of neighbouring pixels is correlated, as drizzling makes it.

    Returns
    -------
    MockField
        With ``galaxies`` (contours of the lensed galaxies' images), ``lenses`` (one), ``truth`` and ``hosts``.

    Raises
    ------
    InputError
        If an option is out of range.

    Notes
    -----
    Mosaics have 0.02 arcsec pixels in the short and 0.04 arcsec in the long channel of NIRCam, a common corner and
    nJy per pixel. Clumps are round Gaussians in the source plane, with masses from a Schechter function; each image
    is the ellipse that the Jacobian at its centre makes of it. Smooth discs are traced back pixel by pixel. All
    light is that of stellar population models (`sc_lab.mock.light`), the same that `sc_lab.sed` fits by default.

    ``truth`` has a row for every compact image: ``id``, ``kind`` ("clump", "gc", "star"), ``source`` (shared by the
    images of one clump), ``galaxy`` (id of the contour that holds it), ``system``, ``image``, ``ra``, ``dec``, ``x``,
    ``y`` [px of the reference band], ``z``, ``mass``, ``age_onset``, ``a_v``, ``metallicity`` (absolute), ``log_u``,
    ``abs_mag_v``, ``r_eff``, signed ``mu``,
    ``mu_t``, ``mu_r``, ``flux_<band>`` (observed), ``cov_xx``, ``cov_yy``, ``cov_xy`` [px2 of the reference band] and
    ``snr`` (matched filter in the reference band, against the sky).

    Examples
    --------
    >>> from sc_lab.mock import make_field
    >>> field = make_field(seed=1, size=6, bands=["F150W"], galaxies=2)
    >>> field.names, field["F150W"].shape
    (('F150W',), (300, 300))
    """
    seed, side, names = _checked(seed, size, bands)
    chosen = [FILTERS[name] for name in names]
    # Everything is drawn for all bands, so that a choice of bands does not change the sky.
    order = list(FILTERS)
    reference = order.index(_REFERENCE)
    draw = np.random.default_rng([_STREAM, seed])
    window = Window(*_OFFSET, (side, side))
    cluster = members(window, order, reference, draw)
    lens = make_lens(*(np.array([getattr(each, part) for each in cluster[2:]]) for part in ("x", "y", "mag")))
    pixels = round(side / _FINE)
    ra, dec = (float(part) for part in lens.to_sky(*_OFFSET))
    wcs = {scale: tangent_wcs(round(side / scale), scale, ra, dec) for scale in (_FINE, 2 * _FINE)}
    lattice, nodes = _lattice(lens, wcs[_FINE], pixels)
    galaxies_drawn = hosts(window, lattice, order, reference, draw, n=galaxies)
    clump = clumps(galaxies_drawn, lattice, order, draw)
    field_galaxies = background(window, lattice, order, reference, draw)
    clump = clump.chosen(window.inside(clump.x, clump.y, margin=-1.0))
    gc = globulars(window, cluster, order, reference, draw)
    star = stars(window, clump, cluster, order, reference, draw)

    compact = _concatenated([clump, gc, star])
    everything = _concatenated([clump, gc, star, field_galaxies], with_truth=False)
    place = _pixels(lens, wcs[_FINE], everything.x, everything.y)
    gaussians = Gaussians((place[0] + 0.5) * _FINE, (place[1] + 0.5) * _FINE, everything.cov)
    shapes = [_sersic(each, lens, wcs[_FINE], pixels) for each in cluster]
    discs = _discs(galaxies_drawn, lattice, nodes, pixels)

    canvases: dict[float, Canvas] = {}
    mosaics: list[Band] = []
    for each in chosen:
        scale, column = each.pixel_scale, order.index(each.name)
        if scale not in canvases:
            canvases[scale] = Canvas((round(side / scale),) * 2, scale, gaussians)
        psf = synthesise_psf(each.name)
        smooth = np.zeros((pixels, pixels))
        for (rows, columns, shape), member in zip(shapes, cluster, strict=True):
            smooth[rows, columns] += member.flux[column] * shape
        for (where, values), host in zip(discs, galaxies_drawn, strict=True):
            smooth[where] += host.flux[column] * values
        if scale > _FINE:
            smooth = smooth.reshape(pixels // 2, 2, pixels // 2, 2).sum(axis=(1, 3))
        picture = canvases[scale].paint(everything.flux[:, column], psf, smooth=smooth)
        chance = np.random.default_rng([_STREAM, seed, column])
        # As mosaics are stored: single precision, 1e-7 of a pixel's value.
        data, error = (
            ArrayPixels(each_map.astype(np.float32))
            for each_map in observe(picture, each, psf, chance, noise=noise, correlated=correlated)
        )
        mosaics.append(Band(each.name, data, wcs[scale], to_njy=1.0, psf=_stamp(each), error=error, source="array"))
    field = MockField(mosaics, name=f"mock field, seed {seed}", lenses=(lens,))
    contours = _contours(galaxies_drawn, lattice, nodes, wcs[_FINE], pixels, reference)
    # Sources beyond the edge send their wings into the picture, but are no part of its truth.
    seen = (np.abs(place[0][: len(compact.x)] - (pixels - 1) / 2) < pixels / 2) & (
        np.abs(place[1][: len(compact.x)] - (pixels - 1) / 2) < pixels / 2
    )
    table = _truth(compact.chosen(seen), FILTERS[field.reference], lens, field, order, names, correlated=correlated)
    _assign(table, contours)
    table.meta["seed"] = seed
    table.meta["cosmology"] = describe(default_cosmology())
    # Colour pictures look familiar where the old stars of the cluster are white: maximum= of `sc_lab.images.rgb`.
    table.meta["white"] = {
        name: float(cluster[0].flux[order.index(name)] / cluster[0].flux[reference]) for name in names
    }
    table.meta["mass_function"] = {"model": "schechter", "beta": BETA, "log_mc": LOG_MC, "above": MASS_LOW}
    out = field.replace(galaxies=tuple(contours))
    assert isinstance(out, MockField)  # noqa: S101 - made by its own class method
    out.truth, out.members, out.hosts = table, _member_table(cluster, lens), _host_table(galaxies_drawn, order, names)
    return out


def _checked(seed: Any, size: Any, bands: Sequence[str] | None) -> tuple[int, float, list[str]]:
    """Return the options, or refuse them in words."""
    try:
        whole = operator.index(seed)
    except TypeError:
        whole = -1
    if whole < 0 or isinstance(seed, bool):
        msg = f"seed is {seed!r}; give a whole number of at least 0"
        raise InputError(msg)
    side = float(value_in(size, u.arcsec, "size"))
    if not _SHORTEST <= side <= _LONGEST:
        msg = f"size is {side:g} arcsec; give {_SHORTEST:g} to {_LONGEST:g} arcsec"
        raise InputError(msg)
    step = 2 * _BLOCK * _FINE
    wanted = list(FILTERS) if bands is None else [str(name).upper() for name in bands]
    unknown = [name for name in wanted if name not in FILTERS]
    if unknown or not wanted or len(set(wanted)) < len(wanted):
        said = f"unknown: {', '.join(unknown)}" if unknown else "none, or one twice"
        msg = f"bands are {', '.join(wanted) or 'empty'} ({said}); choose from {', '.join(FILTERS)}"
        raise InputError(msg)
    return whole, round(side / step) * step, wanted


def tangent_wcs(n: int, scale: float, ra: float, dec: float) -> WCS:
    """Return a tangent projection, north up, east left, about the middle of a square mosaic.

    Parameters
    ----------
    n : int
        Pixels along one side.
    scale : float
        Pixel [arcsec].
    ra, dec : float
        Middle of the mosaic [deg].

    Returns
    -------
    `~astropy.wcs.WCS`
        The projection.
    """
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [n / 2 + 0.5] * 2
    wcs.wcs.cdelt = [-scale / 3600.0, scale / 3600.0]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.radesys = "ICRS"
    wcs.array_shape = (n, n)
    wcs.wcs.set()
    return wcs


def _lattice(lens: LensModel, wcs: WCS, pixels: int) -> tuple[Lattice, FloatArray]:
    """Return the lens at the middles of 5 x 5 pixel blocks, also beyond the edge, and the pixels of the nodes."""
    beyond = round(_MARGIN / (_FINE * _BLOCK))
    nodes: FloatArray = (np.arange(-beyond, pixels // _BLOCK + beyond, dtype=float) + 0.5) * _BLOCK - 0.5
    px, py = np.meshgrid(nodes, nodes)
    ra, dec = wcs.wcs_pix2world(px.ravel(), py.ravel(), 0)
    x, y = lens.to_frame(ra, dec)
    return Lattice.make(lens, x.reshape(px.shape), y.reshape(px.shape)), nodes


def _pixels(lens: LensModel, wcs: WCS, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return pixels of places in the frame of the lens."""
    px, py = wcs.wcs_world2pix(*lens.to_sky(x, y), 0)
    return np.asarray(px), np.asarray(py)


def _concatenated(parts: Sequence[Compact], *, with_truth: bool = True) -> Compact:
    """Return several lists of sources as one."""
    names = parts[0].truth if with_truth else {}
    return Compact(
        np.concatenate([each.x for each in parts]),
        np.concatenate([each.y for each in parts]),
        np.concatenate([each.cov for each in parts]),
        np.concatenate([each.flux for each in parts]),
        {name: np.concatenate([each.truth[name] for each in parts]) for name in names},
    )


def _sersic(member: Member, lens: LensModel, wcs: WCS, pixels: int) -> tuple[slice, slice, FloatArray]:
    """Return the part of the picture that a member covers, and its share of the flux in each pixel there."""
    px, py = (float(part[0]) for part in _pixels(lens, wcs, np.array([member.x]), np.array([member.y])))
    radius = member.radius / _FINE
    reach = int(np.ceil(9.0 * radius)) + 10
    columns = slice(max(0, int(px) - reach), max(0, min(pixels, int(px) + reach + 1)))
    rows = slice(max(0, int(py) - reach), max(0, min(pixels, int(py) + reach + 1)))
    dx = np.arange(columns.start, columns.stop)[None, :] - px
    dy = np.arange(rows.start, rows.stop)[:, None] - py
    along = dx * np.cos(member.angle) + dy * np.sin(member.angle)
    across = (-dx * np.sin(member.angle) + dy * np.cos(member.angle)) / member.axis_ratio
    # A softening of a pixel: what a pixel holds of the cusp.
    r2 = (along**2 + across**2 + 0.5) / radius**2
    n = member.index
    b = 2.0 * n - 1.0 / 3.0 + 0.009876 / n  # Prugniel & Simien 1997
    total = 2.0 * np.pi * n * radius**2 * member.axis_ratio * np.exp(b) * b ** (-2.0 * n) * gamma(2.0 * n)
    # Fades to nothing at nine half-light radii, so that no edge shows.
    fading = np.clip(1.0 - r2 / 81.0, 0.0, None) ** 2
    return rows, columns, np.exp(-b * (r2 ** (0.5 / n) - 1.0)) * fading / total


def _discs(
    galaxies: Sequence[Host], lattice: Lattice, nodes: FloatArray, pixels: int
) -> list[tuple[tuple[Any, ...], FloatArray]]:
    """Return, for each lensed disc, the pixels that it lights up and its flux there for a unit of flux."""
    inside = np.flatnonzero((nodes > 0) & (nodes < pixels - 1))
    fine = np.arange(pixels, dtype=float)
    theta_x, theta_y, alpha_x, alpha_y = (
        RectBivariateSpline(nodes, nodes, part, kx=degree, ky=degree)(fine, fine)
        for part, degree in ((lattice.x, 1), (lattice.y, 1), (lattice.alpha_x, 3), (lattice.alpha_y, 3))
    )
    out = []
    for host in galaxies:
        efficiency = float(lattice.lens.efficiency(host.z))
        r, _ = host.plane(lattice.x - efficiency * lattice.alpha_x, lattice.y - efficiency * lattice.alpha_y)
        coarse = (r < 8.0)[np.ix_(inside, inside)]
        where = np.nonzero(np.repeat(np.repeat(coarse, _BLOCK, axis=0), _BLOCK, axis=1))
        bx = theta_x[where] - efficiency * alpha_x[where]
        by = theta_y[where] - efficiency * alpha_y[where]
        out.append((where, host.brightness(bx, by) * _FINE**2))
    return out


def _stamp(band: Filter) -> Psf:
    """Return the middle of the PSF as the field holds it, on the pixels of its mosaic."""
    stamp = synthesise_psf(band.name).sampled(band.pixel_scale)
    middle, half = stamp.shape[0] // 2, round(_STAMP / band.pixel_scale)
    cut = stamp[middle - half : middle + half + 1, middle - half : middle + half + 1]
    return Psf(
        stamp=cut,
        pixel_scale=band.pixel_scale,
        energy_fraction=float(cut.sum()),
        band=band.name,
        source="synthetic, segmented aperture",
    )


def _truth(
    compact: Compact,
    band: Filter,
    lens: LensModel,
    field: Field,
    order: Sequence[str],
    names: Sequence[str],
    *,
    correlated: bool,
) -> QTable:
    """Return the table of compact sources."""
    reference = field[field.reference]
    ra, dec = lens.to_sky(compact.x, compact.y)
    x, y = reference.to_pixel(ra, dec)
    kind = compact.truth["kind"].astype(str)
    table = QTable()
    letters = {"clump": "c", "gc": "g", "star": "s"}
    seen: dict[str, int] = {}
    ids = []
    for each, source in zip(kind, compact.truth["source"], strict=True):
        stem = f"{letters[each]}{source}" if each == "clump" else letters[each]
        seen[stem] = seen.get(stem, 0) + 1
        ids.append(f"{stem}.{seen[stem]}" if each == "clump" else f"{stem}{seen[stem]}")
    table["id"] = np.array(ids)
    table["kind"] = kind
    table["source"] = compact.truth["source"]
    table["system"] = compact.truth["system"].astype(str)
    table["ra"], table["dec"] = ra * u.deg, dec * u.deg
    table["x"], table["y"] = x, y
    units = {"mass": u.Msun, "age_onset": u.Myr, "a_v": u.mag, "abs_mag_v": u.mag, "r_eff": u.pc}
    whole = ("z", "mass", "age_onset", "a_v", "metallicity", "log_u", "abs_mag_v", "r_eff", "mu", "mu_t", "mu_r")
    for name in whole:
        table[name] = compact.truth[name] * units[name] if name in units else compact.truth[name]
    for name in order:
        # Bands that were not made keep their place in the draw, but tell nothing of this field.
        if name in names:
            table[f"flux_{name.lower()}"] = compact.flux[:, order.index(name)] * u.nJy
    cov = compact.cov / reference.pixel_scale**2
    table["cov_xx"], table["cov_yy"], table["cov_xy"] = cov[:, 0, 0], cov[:, 1, 1], cov[:, 0, 1]
    psf = synthesise_psf(band.name)
    table["snr"] = (
        compact.flux[:, order.index(band.name)]
        * sharpness(compact.cov, psf, band.pixel_scale, correlated=correlated)
        / sky_noise(band, psf, correlated=correlated)[0]
    )
    return table


def _contours(
    galaxies: Sequence[Host],
    lattice: Lattice,
    nodes: FloatArray,
    wcs: WCS,
    pixels: int,
    reference: int,
) -> list[Galaxy]:
    """Return the isophotes of the lensed discs inside the picture, an image each."""
    import contourpy

    inside = (nodes > 0) & (nodes < pixels - 1)
    hidden = ~(inside[:, None] & inside[None, :])
    sky, _ = sky_noise(FILTERS[_REFERENCE], synthesise_psf(_REFERENCE))
    out: list[Galaxy] = []
    for host in galaxies:
        efficiency = float(lattice.lens.efficiency(host.z))
        light = host.brightness(lattice.x - efficiency * lattice.alpha_x, lattice.y - efficiency * lattice.alpha_y)
        light = light * host.flux[reference] * _FINE**2
        light[hidden] = 0.0
        level = min(_ISOPHOTE * sky, 0.1 * light.max())
        if not level > 0:
            continue
        found = []
        for line in contourpy.contour_generator(nodes, nodes, light).lines(level):
            px, py = np.asarray(line).T
            area = 0.5 * abs(float(np.sum(px[:-1] * np.diff(py) - py[:-1] * np.diff(px)))) * _FINE**2
            if area > _SMALLEST and len(px) > 4:
                found.append((area, px, py))
        for k, (_, px, py) in enumerate(sorted(found, key=lambda each: -each[0])):
            ra, dec = wcs.wcs_pix2world(px[:-1], py[:-1], 0)
            name = f"{host.number}.{k + 1}"
            out.append(
                Galaxy(
                    id=name,
                    contour=np.stack([ra, dec], axis=-1),
                    z=host.z,
                    system=str(host.number),
                    image=name,
                    z_spec=True,
                    is_reference=k == 0,
                )
            )
    return out


def _assign(table: QTable, galaxies: Sequence[Galaxy]) -> None:
    """Add the contour that holds each clump, or the nearest one of its system."""
    names = np.full(len(table), "", dtype="U16")
    distance = np.full(len(table), _NEAR)
    ra, dec = table["ra"].to_value(u.deg), table["dec"].to_value(u.deg)
    for galaxy in galaxies:
        own = (table["system"] == galaxy.system) & (table["kind"] == "clump")
        dx = (ra[:, None] - galaxy.contour[None, :, 0]) * np.cos(np.radians(dec))[:, None]
        away = 3600.0 * np.hypot(dx, dec[:, None] - galaxy.contour[None, :, 1]).min(axis=1)
        away[np.asarray(galaxy.contains(ra, dec))] = 0.0
        nearer = own & (away < distance)
        names[nearer], distance[nearer] = galaxy.id, away[nearer]
    table.add_column(names, name="galaxy", index=3)
    table.add_column(names, name="image", index=5)


def _member_table(cluster: Sequence[Member], lens: LensModel) -> QTable:
    """Return the galaxies of the cluster."""
    x, y = (np.array([getattr(each, part) for each in cluster]) for part in ("x", "y"))
    ra, dec = lens.to_sky(x, y)
    table = QTable()
    table["id"] = ["bcg", "icl", *(f"m{k + 1}" for k in range(len(cluster) - 2))]
    table["ra"], table["dec"] = ra * u.deg, dec * u.deg
    table["mag_f150w"] = [each.mag for each in cluster] * u.mag
    table["r_eff"] = [each.radius for each in cluster] * u.arcsec
    table["sersic"] = [each.index for each in cluster]
    return table


def _host_table(galaxies: Sequence[Host], order: Sequence[str], names: Sequence[str]) -> QTable:
    """Return what the discs of the lensed galaxies are."""
    table = QTable()
    table["system"] = [str(each.number) for each in galaxies]
    for name, part, unit in (
        ("z", "z", u.one),
        ("mass", "mass", u.Msun),
        ("sfr", "sfr", u.Msun / u.yr),
        ("age_onset", "age", u.Myr),
        ("a_v", "a_v", u.mag),
    ):
        table[name] = [getattr(each, part) for each in galaxies] * unit
    for name in names:
        table[f"flux_{name.lower()}"] = [each.flux[order.index(name)] for each in galaxies] * u.nJy
    return table
