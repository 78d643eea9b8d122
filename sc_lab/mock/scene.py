"""What is on the mock sky: lensed galaxies with clumps, globular clusters, stars, cluster members; drawn, not painted."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sc_lab.cosmology import default_cosmology
from sc_lab.mock.lens import Z_LENS, Lattice
from sc_lab.mock.light import GALAXIES, GLOBULARS, SOLAR, draw_gas, draw_old_metals, light, recent_share
from sc_lab.mock.psfs import FILTERS
from sc_lab.units import FloatArray

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Compact", "Host", "Member", "Window", "background", "clumps", "globulars", "hosts", "members", "stars"]

#: Half-light radius over standard deviation of a round Gaussian.
HALF_LIGHT = float(np.sqrt(2.0 * np.log(2.0)))
_ARCSEC_PER_RADIAN = 180.0 / np.pi * 3600.0
#: Masses: Schechter function of Claeyssens et al. 2026, table 2, from the lowest mass on [Msun]; larger clumps are
#: more massive, by this power of the radius above the size of a cluster [pc].
BETA, LOG_MC, MASS_LOW = -1.70, 8.14, 4e5
_MASS_SIZE_POWER, _CLUSTER_SIZE = 1.5, 25.0
_E_FOLDS, _STEPS = 45.0, 4096
#: Median radius [pc] and scatter of its logarithm.
_SIZE, _SIZE_SIGMA, _SIZE_RANGE = 14.0, 0.9, (1.0, 150.0)
#: A point-like image beyond this magnification would be a caustic crossing, where a source is no ellipse.
_MU_MAX = 150.0
#: Reference area [arcsec2] that the numbers of objects refer to.
_AREA = 900.0
#: Three round Gaussians that stand for an exponential disc: shares of the light, widths in its half-light radius.
_DISC = ((0.22, 0.22), (0.45, 0.58), (0.33, 1.20))


@dataclass(frozen=True)
class Window:
    """The part of the sky that is drawn, in the frame of the lens.

    Attributes
    ----------
    x, y : float
        Centre [arcsec].
    side : tuple of float
        Extent in x and y [arcsec].
    """

    x: float
    y: float
    side: tuple[float, float]

    @property
    def share(self) -> float:
        """Area over that of the default field."""
        return self.side[0] * self.side[1] / _AREA

    def inside(self, x: FloatArray, y: FloatArray, *, margin: float = 0.0) -> Any:
        """Return whether places lie inside, by at least a margin.

        Parameters
        ----------
        x, y : ndarray
            Places [arcsec].
        margin : float
            Distance from the edge [arcsec]; negative for places outside.

        Returns
        -------
        ndarray of bool
            True inside.
        """
        return (np.abs(x - self.x) <= self.side[0] / 2 - margin) & (np.abs(y - self.y) <= self.side[1] / 2 - margin)

    def draw(self, n: int, rng: np.random.Generator, *, margin: float = 0.0) -> tuple[FloatArray, FloatArray]:
        """Return places drawn uniformly.

        Parameters
        ----------
        n : int
            How many.
        rng : Generator
            Source of chance.
        margin : float
            Distance from the edge [arcsec].

        Returns
        -------
        tuple of ndarray
            Places [arcsec].
        """
        half_x, half_y = self.side[0] / 2 - margin, self.side[1] / 2 - margin
        return self.x + rng.uniform(-half_x, half_x, n), self.y + rng.uniform(-half_y, half_y, n)


@dataclass(eq=False)
class Compact:
    """Compact sources as they are imaged: elliptical Gaussians in the frame of the lens.

    Attributes
    ----------
    x, y : ndarray, shape (n,)
        Places [arcsec].
    cov : ndarray, shape (n, 2, 2)
        Covariance [arcsec2], before the PSF.
    flux : ndarray, shape (n, bands)
        Observed flux [nJy].
    truth : dict of str to ndarray
        What else is known of each.
    """

    x: FloatArray
    y: FloatArray
    cov: FloatArray
    flux: FloatArray
    truth: dict[str, Any] = field(default_factory=dict)

    def chosen(self, keep: Any) -> Compact:
        """Return a part of the sources.

        Parameters
        ----------
        keep : ndarray
            Mask or index.

        Returns
        -------
        Compact
            The part.
        """
        truth = {name: values[keep] for name, values in self.truth.items()}
        return Compact(self.x[keep], self.y[keep], self.cov[keep], self.flux[keep], truth)


@dataclass(frozen=True, eq=False)
class Host:
    """The smooth light of a lensed galaxy: a disc with arms, in the source plane.

    Attributes
    ----------
    number : int
        Its system.
    z : float
        Redshift.
    x, y : float
        Centre in the source plane, frame of the lens [arcsec].
    scale : float
        Scale length [arcsec].
    axis_ratio, angle : float
        Shape; angle in radians from +x.
    arms : float
        Contrast of the spiral arms.
    pitch : float
        Their winding: radians per e-fold of radius.
    flux : ndarray, shape (bands,)
        Flux without magnification [nJy].
    mass, sfr : float
        Stellar mass [Msun] and mean star-formation rate of the last 10 Myr [Msun/yr].
    age, a_v : float
        Time since its first stars formed [Myr] and dust attenuation in V [mag].
    """

    number: int
    z: float
    x: float
    y: float
    scale: float
    axis_ratio: float
    angle: float
    arms: float
    pitch: float
    flux: FloatArray
    mass: float = float("nan")
    sfr: float = float("nan")
    age: float = float("nan")
    a_v: float = float("nan")

    def plane(self, bx: FloatArray, by: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return radius in scale lengths and angle in the plane of the disc.

        Parameters
        ----------
        bx, by : ndarray
            Places in the source plane [arcsec].

        Returns
        -------
        tuple of ndarray
            Radius and angle.
        """
        dx, dy = (bx - self.x) / self.scale, (by - self.y) / self.scale
        along = dx * np.cos(self.angle) + dy * np.sin(self.angle)
        across = (-dx * np.sin(self.angle) + dy * np.cos(self.angle)) / self.axis_ratio
        return np.hypot(along, across), np.arctan2(across, along)

    def brightness(self, bx: FloatArray, by: FloatArray) -> FloatArray:
        """Return the surface brightness for a unit of flux.

        Parameters
        ----------
        bx, by : ndarray
            Places in the source plane [arcsec].

        Returns
        -------
        ndarray
            Per arcsec2; lensing leaves it as it is.
        """
        r, phi = self.plane(bx, by)
        disc = np.exp(-r) / (2.0 * np.pi * self.scale**2 * self.axis_ratio)
        wave = np.cos(2.0 * (phi - self.pitch * np.log(r + 0.3)))
        return np.asarray(disc * (1.0 + self.arms * wave * (r / (r + 1.0))))

    def places(self, n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """Return places in the source plane, more of them on the arms.

        Parameters
        ----------
        n : int
            How many.
        rng : Generator
            Source of chance.

        Returns
        -------
        tuple of ndarray
            Places [arcsec].
        """
        r = np.minimum(rng.gamma(2.0, 1.0, n), 5.0)
        ridge = self.pitch * np.log(r + 0.3) + np.pi * rng.integers(0, 2, n)
        phi = np.where(rng.random(n) < self.arms, ridge + rng.normal(0.0, 0.25, n), rng.uniform(0, 2 * np.pi, n))
        along, across = self.scale * r * np.cos(phi), self.scale * r * np.sin(phi) * self.axis_ratio
        return (
            self.x + along * np.cos(self.angle) - across * np.sin(self.angle),
            self.y + along * np.sin(self.angle) + across * np.cos(self.angle),
        )


@dataclass(frozen=True, eq=False)
class Member:
    """A galaxy of the cluster, or the light between its galaxies: a Sersic profile.

    Attributes
    ----------
    x, y : float
        Centre in the frame of the lens [arcsec].
    radius : float
        Half-light radius [arcsec].
    index : float
        Sersic index.
    axis_ratio, angle : float
        Shape; angle in radians from +x.
    mag : float
        F150W magnitude.
    flux : ndarray, shape (bands,)
        Flux [nJy].
    """

    x: float
    y: float
    radius: float
    index: float
    axis_ratio: float
    angle: float
    mag: float
    flux: FloatArray


def _scaled_to(flux: FloatArray, band: int, mag: FloatArray) -> FloatArray:
    """Return fluxes scaled to a magnitude in one band."""
    return np.asarray(flux * (10.0 ** (0.4 * (31.4 - mag)) / flux[:, band])[:, None])


def _masses(n: int, rng: np.random.Generator) -> FloatArray:
    """Draw masses from the Schechter function above the lowest mass."""
    log_m = np.linspace(np.log(MASS_LOW), np.log(_E_FOLDS) + LOG_MC * np.log(10.0), _STEPS)
    m = np.exp(log_m)
    density = m ** (BETA + 1.0) * np.exp(-m / 10.0**LOG_MC)
    cumulative = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]) * np.diff(log_m))])
    return np.asarray(np.exp(np.interp(rng.random(n) * cumulative[-1], cumulative, log_m)))


def members(window: Window, bands: Sequence[str], reference: int, rng: np.random.Generator) -> list[Member]:
    """Draw the cluster: its brightest galaxy, the light between the galaxies, and the others.

    Parameters
    ----------
    window : Window
        Part of the sky.
    bands : sequence of str
        Names of the bands.
    reference : int
        Band of the magnitudes (F150W).
    rng : Generator
        Source of chance.

    Returns
    -------
    list of Member
        First the brightest galaxy, then the intracluster light, then the others.
    """
    # The members beyond the picture still bend light; their number thins out from the centre.
    n = 150
    radius = 75.0 * rng.random(n) ** 0.85
    turn = rng.uniform(0, 2 * np.pi, n)
    along, across = radius * np.cos(turn), 0.6 * radius * np.sin(turn)
    tilt = np.radians(-36.0)
    x, y = along * np.cos(tilt) - across * np.sin(tilt), along * np.sin(tilt) + across * np.cos(tilt)
    keep = np.hypot(x, y) > 3.0
    x, y = x[keep], y[keep]
    n = len(x)
    mag = 18.6 + 6.4 * rng.random(n) ** 0.55
    size_kpc = 2.4 * 10.0 ** (-0.13 * (mag - 19.5)) * np.exp(0.25 * rng.standard_normal(n))
    arcsec = _ARCSEC_PER_RADIAN / float(default_cosmology().angular_diameter_distance(Z_LENS).to_value("kpc"))
    index = np.clip(3.6 - 0.45 * (mag - 18.6) + 0.4 * rng.standard_normal(n), 1.0, 4.5)
    shape, angle = rng.uniform(0.5, 1.0, n), rng.uniform(0, np.pi, n)
    # Brightest galaxy and intracluster light before the others.
    x, y = np.concatenate([[0.006, 0.006], x]), np.concatenate([[0.037, 0.037], y])
    mag = np.concatenate([[17.3, 17.5], mag])
    size = np.concatenate([[1.9, 12.0], size_kpc * arcsec])
    index = np.concatenate([[3.0, 1.0], index])
    shape, angle = np.concatenate([[0.72, 0.50], shape]), np.concatenate([[tilt, tilt], angle])
    age = np.concatenate([[9500.0, 8000.0], rng.uniform(6000.0, 9500.0, n)])
    z = np.full(n + 2, Z_LENS)
    normal = rng.standard_normal((n + 2, 2))
    normal[:2] = 0.0
    metals = 10.0 ** (0.1 * normal[:, 0])
    shining = light(z, age, np.zeros(n + 2), metals, np.full(n + 2, -2.0), bands=bands, model=GLOBULARS)
    flux = _scaled_to(shining.flux, reference, mag)
    return [
        Member(x[k], y[k], size[k], index[k], shape[k], angle[k], mag[k], flux[k])
        for k in range(n + 2)
        if k < 2 or window.inside(x[k], y[k], margin=-20.0)
    ]


def hosts(
    window: Window,
    lattice: Lattice,
    bands: Sequence[str],
    reference: int,
    rng: np.random.Generator,
    *,
    n: int | None = None,
) -> list[Host]:
    """Draw the lensed galaxies, each with an image somewhere in the window that is magnified well.

    Parameters
    ----------
    window : Window
        Part of the sky.
    lattice : Lattice
        The lens.
    bands : sequence of str
        Names of the bands.
    reference : int
        Band of the magnitudes (F150W).
    rng : Generator
        Source of chance.
    n : int, optional
        How many; None makes 14 in 30 x 30 arcsec, 5 in 12 x 12.

    Returns
    -------
    list of Host
        The galaxies; the light of their discs.
    """
    count = max(2, round(14 * window.share**0.6)) if n is None else n
    out: list[Host] = []
    stars: list[FloatArray] = []
    taken: list[tuple[float, float]] = []
    cosmology = default_cosmology()
    margin = min(1.8, 0.2 * min(window.side))
    apart = min(3.2, 0.25 * min(window.side))
    for number in range(1, count + 1):
        z = float(0.9 + 5.4 * rng.beta(1.1, 2.6))
        for attempt in range(300):
            x, y = window.draw(1, rng, margin=margin)
            efficiency = float(lattice.lens.efficiency(z))
            mu = abs(1.0 / np.linalg.det(lattice.matrix(x, y, efficiency))[0])
            crowded = any(np.hypot(x[0] - a, y[0] - b) < apart for a, b in taken)
            if attempt > 200 or (4.0 < mu < 40.0 and np.hypot(x[0], y[0]) > 4.0 and not crowded):
                break
        taken.append((float(x[0]), float(y[0])))
        alpha_x, alpha_y = lattice.lens.unit_deflection(x, y)
        kpc = _ARCSEC_PER_RADIAN / float(cosmology.angular_diameter_distance(z).to_value("kpc"))
        limit = 0.8 * float(cosmology.age(z).to_value("Myr"))
        # One in five is past its prime; the rest are blue, but redder than their clumps.
        old = rng.random() < 0.2
        age = min(rng.uniform(300.0, 600.0) if old else 10.0 * rng.uniform(4.0, 20.0), limit)
        dust = rng.uniform(0.0, 0.3)
        abs_v = -17.5 + 0.7 * rng.standard_normal()
        stars.append(np.array([z, age, dust, abs_v, *rng.standard_normal(2)]))
        scale_kpc = (
            0.65 * np.exp(0.3 * rng.standard_normal()) * 10.0 ** (-0.06 * (abs_v + 17.5)) * (3.0 / (1 + z)) ** 0.6
        )
        out.append(
            Host(
                number=number,
                z=z,
                x=float(x[0] - efficiency * alpha_x[0]),
                y=float(y[0] - efficiency * alpha_y[0]),
                scale=scale_kpc * kpc,
                axis_ratio=rng.uniform(0.4, 0.9),
                angle=rng.uniform(0, np.pi),
                arms=rng.uniform(0.4, 0.9),
                pitch=rng.uniform(1.5, 3.0) * rng.choice([-1.0, 1.0]),
                flux=np.zeros(len(bands)),
            )
        )
    z_all, age_all, dust_all, abs_v_all, *normal = np.array(stars).T
    shining = light(z_all, age_all, dust_all, *draw_gas(np.stack(normal, axis=1)), bands=bands, model=GALAXIES)
    mass = 10.0 ** (0.4 * (shining.abs_mag_v - abs_v_all))
    sfr = mass * shining.formed * recent_share(age_all, GALAXIES.tau) / 1e7
    del reference
    return [
        replace(each, flux=mass[k] * shining.flux[k], mass=mass[k], sfr=sfr[k], age=age_all[k], a_v=dust_all[k])
        for k, each in enumerate(out)
    ]


def clumps(
    galaxies: Sequence[Host], lattice: Lattice, bands: Sequence[str], rng: np.random.Generator, *, mean: float = 13.0
) -> Compact:
    """Draw the clumps of lensed galaxies and image each of them as often as the lens does.

    Parameters
    ----------
    galaxies : sequence of Host
        Their galaxies.
    lattice : Lattice
        The lens.
    bands : sequence of str
        Names of the bands.
    rng : Generator
        Source of chance.
    mean : float
        Mean number of clumps of one galaxy.

    Returns
    -------
    Compact
        Every image of every clump, an ellipse by the Jacobian at its centre.
    """
    parts: list[Compact] = []
    drawn: list[FloatArray] = []
    cosmology = default_cosmology()
    first = 0
    for host in galaxies:
        n = 3 + int(rng.poisson(mean - 3.0))
        bx, by = host.places(n, rng)
        size = np.clip(_SIZE * np.exp(_SIZE_SIGMA * rng.standard_normal(n)), *_SIZE_RANGE)
        mass = _masses(n, rng) * np.maximum(size / _CLUSTER_SIZE, 1.0) ** _MASS_SIZE_POWER
        limit = 0.8 * float(cosmology.age(host.z).to_value("Myr"))
        young = rng.random(n) < 0.86
        age = np.where(young, 10.0 ** rng.normal(1.0, 0.4, n), 10.0 ** rng.uniform(2.0, 2.9, n))
        age = np.clip(age, 1.5, limit)
        a_v = np.minimum(rng.exponential(0.15, n), 0.8)
        metallicity, log_u = draw_gas(rng.standard_normal((n, 2)))
        drawn.append(np.stack([np.full(n, host.z), age, a_v, metallicity, log_u, mass]))
        pc = float(cosmology.angular_diameter_distance(host.z).to_value("pc")) / _ARCSEC_PER_RADIAN
        found = lattice.images(bx, by, host.z)
        keep = np.abs(found.mu) < _MU_MAX
        source, matrix = found.source[keep], found.matrix[keep]
        inverse = np.linalg.inv(matrix)
        width = size[source] / HALF_LIGHT / pc
        cov = width[:, None, None] ** 2 * np.einsum("nij,nkj->nik", inverse, inverse)
        trace = matrix[:, 0, 0] + matrix[:, 1, 1]
        shear = np.hypot(matrix[:, 0, 0] - matrix[:, 1, 1], 2.0 * matrix[:, 0, 1])
        mu, mu_t, mu_r = found.mu[keep], 2.0 / (trace - shear), 2.0 / (trace + shear)
        truth: dict[str, Any] = {
            "kind": np.full(len(source), "clump"),
            "source": first + source,
            "system": np.full(len(source), str(host.number)),
            "z": np.full(len(source), host.z),
            "mass": mass[source],
            "age_onset": age[source],
            "a_v": a_v[source],
            "metallicity": SOLAR * metallicity[source],
            "log_u": log_u[source],
            "r_eff": size[source],
            "mu": mu,
            "mu_t": mu_t,
            "mu_r": mu_r,
        }
        parts.append(Compact(found.x[keep], found.y[keep], cov, np.empty((len(source), 0)), truth))
        first += n
    out = _joined(parts, len(bands))
    if drawn:
        *populations, mass = np.concatenate(drawn, axis=1)
        shining, source = light(*populations, bands=bands), out.truth["source"]
        out.flux = shining.flux[source] * (mass[source] * np.abs(out.truth["mu"]))[:, None]
        out.truth["abs_mag_v"] = (shining.abs_mag_v - 2.5 * np.log10(mass))[source]
    return out


def globulars(
    window: Window, galaxies: Sequence[Member], bands: Sequence[str], reference: int, rng: np.random.Generator
) -> Compact:
    """Draw globular clusters of the cluster of galaxies: round, 3 pc, old, at its redshift.

    Parameters
    ----------
    window : Window
        Part of the sky.
    galaxies : sequence of Member
        Members, the brightest first.
    bands : sequence of str
        Names of the bands.
    reference : int
        Band of the magnitudes (F150W).
    rng : Generator
        Source of chance.

    Returns
    -------
    Compact
        The clusters inside the window.

    Notes
    -----
    Magnitudes are drawn, not masses. What is no property of a lensed clump is NaN in the truth.
    """
    n = round(170 * max(window.share, 0.15))
    # Two thirds belong to the brightest galaxy and the space between, the rest to other galaxies.
    others = [each for each in galaxies[2:] if window.inside(np.array(each.x), np.array(each.y)) and each.mag < 21.5]
    central = rng.random(n) < (0.67 if others else 1.0)
    radius = np.where(central, 1.2 + 9.0 * rng.gamma(1.6, 1.0, n), 0.5 + 0.9 * rng.gamma(1.5, 1.0, n))
    turn = rng.uniform(0, 2 * np.pi, n)
    pick = rng.integers(0, max(len(others), 1), n)
    home = np.array([(each.x, each.y) for each in others]) if others else np.zeros((1, 2))
    x = np.where(central, 0.0, home[pick, 0]) + radius * np.cos(turn)
    y = np.where(central, 0.0, home[pick, 1]) + radius * np.sin(turn)
    mag = 31.0 - 1.35 * rng.gamma(1.3, 1.0, n)
    age = rng.uniform(4e3, 9e3, n)
    z = np.full(n, Z_LENS)
    metals = draw_old_metals(rng.standard_normal((n, 2))[:, 0])
    shining = light(z, age, np.zeros(n), metals, np.full(n, -2.0), bands=bands, model=GLOBULARS)
    flux = _scaled_to(shining.flux, reference, mag)
    pc = float(default_cosmology().angular_diameter_distance(Z_LENS).to_value("pc")) / _ARCSEC_PER_RADIAN
    size = np.full(n, 3.0)
    cov = (size / HALF_LIGHT / pc)[:, None, None] ** 2 * np.eye(2)
    truth = _unlensed("gc", z, age, size) | {"metallicity": SOLAR * metals}
    return Compact(x, y, cov, flux, truth).chosen(window.inside(x, y, margin=-0.5) & (mag > 26.5))


def stars(
    window: Window,
    taken: Compact,
    galaxies: Sequence[Member],
    bands: Sequence[str],
    reference: int,
    rng: np.random.Generator,
) -> Compact:
    """Draw foreground stars: bright, unsaturated and apart from everything else.

    Parameters
    ----------
    window : Window
        Part of the sky.
    taken : Compact
        Sources to stay away from.
    galaxies : sequence of Member
        Galaxies to stay away from.
    bands : sequence of str
        Names of the bands.
    reference : int
        Band of the magnitudes (F150W).
    rng : Generator
        Source of chance.

    Returns
    -------
    Compact
        At least six of them.
    """
    n = max(6, round(8 * window.share))
    margin = min(1.2, 0.12 * min(window.side))
    bright = taken.flux[:, reference] > 5.0
    places: list[tuple[float, float]] = []
    for _ in range(n):
        xs, ys = window.draw(400, rng, margin=margin)
        free = np.full(400, np.inf)
        for x, y, reach in (
            *((each.x, each.y, 2.5 * each.radius + 0.5) for each in galaxies if each.index != 1.0 or each.radius < 5.0),
            *((x, y, 0.8) for x, y in zip(taken.x[bright], taken.y[bright], strict=True)),
            *((x, y, 1.6) for x, y in places),
        ):
            free = np.minimum(free, np.hypot(xs - x, ys - y) / reach)
        # The first that is free, else the freest.
        good = np.flatnonzero(free > 1.0)
        best = int(good[0]) if len(good) else int(np.argmax(free))
        places.append((float(xs[best]), float(ys[best])))
    x, y = np.array(places).T
    mag = rng.uniform(22.0, 24.0, n)
    temperature = rng.uniform(3200.0, 5500.0, n)
    wavelength = np.array([FILTERS[band].pivot for band in bands])[None, :] * 1e-6
    exponent = 0.014387769 / (wavelength * temperature[:, None])
    flux = _scaled_to(1.0 / wavelength**3 / np.expm1(exponent), reference, mag)
    return Compact(x, y, np.zeros((n, 2, 2)), flux, _unlensed("star", np.zeros(n), np.full(n, np.nan), np.zeros(n)))


def background(
    window: Window, lattice: Lattice, bands: Sequence[str], reference: int, rng: np.random.Generator
) -> Compact:
    """Draw small galaxies of the field, lensed where they lie behind; three Gaussians each.

    Parameters
    ----------
    window : Window
        Part of the sky.
    lattice : Lattice
        The lens.
    bands : sequence of str
        Names of the bands.
    reference : int
        Band of the magnitudes (F150W).
    rng : Generator
        Source of chance.

    Returns
    -------
    Compact
        The Gaussians; they have no truth.
    """
    slices = 8
    parts: list[Compact] = []
    cosmology = default_cosmology()
    for z in 0.45 + 5.5 * ((np.arange(slices) + rng.random(slices)) / slices) ** 1.6:
        n = max(1, round(45 * window.share))
        x, y = window.draw(n, rng, margin=-1.0)
        efficiency = float(lattice.lens.efficiency(z))
        # Evenly over the source plane: an image is rarer by its magnification.
        mu = np.abs(1.0 / np.linalg.det(lattice.matrix(x, y, efficiency)))
        keep = rng.random(n) < 1.0 / np.maximum(mu, 1.0)
        x, y = x[keep], y[keep]
        n = len(x)
        if n == 0:
            continue
        alpha_x, alpha_y = lattice.lens.unit_deflection(x, y)
        found = lattice.images(x - efficiency * alpha_x, y - efficiency * alpha_y, float(z))
        mag = np.maximum(31.2 - 1.2 * rng.gamma(1.5, 1.0, n), 25.5)
        age, a_v = 10.0 ** rng.uniform(1.0, 2.5, n), rng.exponential(0.15, n)
        gas = draw_gas(rng.standard_normal((n, 2)))
        flux = light(np.full(n, z), age, a_v, *gas, bands=bands, model=GALAXIES).flux
        flux = flux * (10.0 ** (0.4 * (31.4 - mag)) / flux[:, reference])[:, None]
        kpc = _ARCSEC_PER_RADIAN / float(cosmology.angular_diameter_distance(z).to_value("kpc"))
        radius = kpc * 0.7 * 10.0 ** (-0.1 * (mag - 28.0)) * np.exp(0.3 * rng.standard_normal(n)) * (2 / (1 + z)) ** 0.5
        q, turn = rng.uniform(0.35, 1.0, n), rng.uniform(0, np.pi, n)
        axes = np.stack([np.stack([np.cos(turn), -np.sin(turn)], -1), np.stack([np.sin(turn), np.cos(turn)], -1)], -2)
        square = np.zeros((n, 2, 2))
        square[:, 0, 0], square[:, 1, 1] = radius**2, (radius * q) ** 2
        shape = np.einsum("nij,njk,nlk->nil", axes, square, axes)
        keep = np.abs(found.mu) < 10.0
        inverse, source = np.linalg.inv(found.matrix[keep]), found.source[keep]
        imaged = np.einsum("nij,njk,nlk->nil", inverse, shape[source], inverse)
        bright = flux[source] * np.abs(found.mu[keep])[:, None]
        for share, width in _DISC:
            parts.append(
                Compact(found.x[keep], found.y[keep], imaged * (width / HALF_LIGHT * 1.5) ** 2, share * bright)
            )
    return _joined(parts, len(bands))


def _unlensed(kind: str, z: FloatArray, age: FloatArray, size: FloatArray) -> dict[str, Any]:
    """Return the truth of sources that are no lensed clumps."""
    n = len(z)
    empty = {name: np.full(n, np.nan) for name in ("mass", "a_v", "metallicity", "log_u", "abs_mag_v")}
    ones = {name: np.ones(n) for name in ("mu", "mu_t", "mu_r")}
    return {
        "kind": np.full(n, kind),
        "source": np.full(n, -1),
        "system": np.full(n, ""),
        "z": z,
        "age_onset": age,
        "r_eff": size,
        **empty,
        **ones,
    }


def _joined(parts: Sequence[Compact], bands: int) -> Compact:
    """Return several lists as one."""
    if not parts:
        return Compact(np.empty(0), np.empty(0), np.empty((0, 2, 2)), np.empty((0, bands)))
    names = parts[0].truth if parts else {}
    return Compact(
        np.concatenate([each.x for each in parts]),
        np.concatenate([each.y for each in parts]),
        np.concatenate([each.cov for each in parts]),
        np.concatenate([each.flux for each in parts]),
        {name: np.concatenate([each.truth[name] for each in parts]) for name in names},
    )
