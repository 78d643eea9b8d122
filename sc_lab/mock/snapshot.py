"""A synthetic snapshot whose haloes, gas and star clusters are known: for demonstrations and for tests of the finders."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import astropy.constants as const
import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.table import QTable

from sc_lab.errors import InputError
from sc_lab.simulations import _checks as check
from sc_lab.simulations.potential import G
from sc_lab.simulations.snapshot import Snapshot
from sc_lab.units import FloatArray

__all__ = ["KINDS", "MockSnapshot", "make_snapshot"]

#: States of a cluster and the factor on the speeds of equilibrium that makes them: |U|/K of the stars is 2 / factor^2.
KINDS = {"virialised": 1.0, "bound": 1.27, "unbound": 1.8}
#: Comoving side of the box for each particle along it [kpc/h], as in the box of Williams et al. 2025.
_SPACING = 1776.0 / 768.0
_COSMOLOGY = {"h": 0.71, "omega_matter": 0.27, "omega_lambda": 0.73, "omega_baryon": 0.044}
#: Scale radii in the radius of a halo: young haloes are not concentrated.
CONCENTRATION = 4.0
#: Faster than this share of the escape speed no particle of a halo is.
_FASTEST = 0.95
#: Spheres end here, in scale radii: 1.5 % of a Plummer sphere lies further out.
_EDGE = 10.0
#: Mean mass of a gas particle [proton masses] and share of hydrogen, for temperatures of primordial, neutral gas.
_MU, _HYDROGEN = 1.22, 0.76


@dataclass(frozen=True, eq=False)
class MockSnapshot(Snapshot):
    """A snapshot that knows what was put into it.

    Attributes
    ----------
    truth : QTable
        A row for each cluster: ``id``, ``kind`` and ``virial_ratio`` = |U|/K of its stars alone, ``n_star``,
        ``mass``, ``scale`` and ``r_half`` [pc], ``age_onset`` [Myr], ``metallicity`` (solar units of 0.02), ``halo``
        (-1 for none) and the centre [kpc, physical].
    haloes : QTable
        ``n_dm``, ``mass_dm``, ``r_200``: where they end, and ``scale`` = r_200 / concentration [kpc], ``concentration``,
        ``r_half`` [kpc], ``virial_ratio`` = |U|/K of the dark matter, and the centre [kpc, physical].
    star_cluster : ndarray of int
        The row of the truth for each star, -1 for stars between the clusters.
    """

    truth: QTable = field(default_factory=QTable, repr=False)
    haloes: QTable = field(default_factory=QTable, repr=False)
    star_cluster: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64), repr=False)


@check.checked(
    seed=check.optional(check.seed),
    n_side=check.count(low=1),
    n_clusters=check.count(low=1),
    n_haloes=check.count(),
    in_halo=check.scalar(0.0, "a share from 0 to 1", high=1.0),
    kinds=check.array(words="three shares that add up to 1: " + ", ".join(KINDS), low=0.0, shape=(3,)),
    redshift=check.scalar(0.0, "a redshift from 0 to 1000", high=1000.0),
    concentration=check.positive(),
    name=check.text,
)
def make_snapshot(
    seed: Any = None,
    *,
    n_side: int = 48,
    n_clusters: int = 60,
    n_haloes: int = 24,
    in_halo: float = 0.4,
    kinds: tuple[float, float, float] = (0.5, 0.25, 0.25),
    redshift: float = 12.0,
    concentration: float = CONCENTRATION,
    name: str = "mock snapshot",
) -> MockSnapshot:
    """Return a periodic box of dark-matter haloes, gas and star clusters.

    Parameters
    ----------
    seed : seed or Generator, optional
        Source of everything random; without one always the same box, that of 1.
    n_side : int
        Cube root of the number of dark-matter particles; there are as many gas cells and stars together.
    n_clusters, n_haloes : int
        Star clusters, and haloes.
    in_halo : float
        Share of the clusters that sit near the centre of a halo, one in each; the others have no dark matter.
    kinds : (float, float, float)
        Shares of virialised clusters, of bound ones that are not, and of unbound ones.
    redshift : float
        Redshift of the snapshot.
    concentration : float
        Radius of the haloes over their scale radius.
    name : str
        What to call it.

    Returns
    -------
    MockSnapshot
        In the units, cosmology and mass resolution of Williams et al. 2025 (1.1e3 Msun for dark matter, 2.1e2 Msun for
        baryons), with velocities, ages and metallicities of stars, densities and temperatures of gas.

    Raises
    ------
    InputError
        If the box is too small for what is to be put in, or a share is out of range.

    Notes
    -----
    Haloes follow Navarro, Frenk & White 1997 out to r_200, the radius of 200 times the critical density, where they end;
    their isotropic velocities have the dispersion that Jeans' equation asks for, with no pressure from outside, so that
    |U|/K = 2, and none escapes. Clusters are Plummer spheres with the velocities of equilibrium (Aarseth, Henon & Wielen
    1974), each by its own gravity; speeds of those that are not to be virialised are raised. What lies between is a
    lattice with jitter, which makes no groups of its own. The first cluster straddles a corner of the box.
    """
    if round(in_halo * n_clusters) > n_haloes:
        msg = (
            f"n_clusters is {n_clusters}, n_haloes {n_haloes} and in_halo {in_halo}; give at least one cluster, a share "
            "from 0 to 1, and a halo for each cluster that is to be in one"
        )
        raise InputError(msg)
    if not np.isclose(sum(kinds), 1):
        msg = f"kinds is {kinds}; give three shares that add up to 1: {', '.join(KINDS)}"
        raise InputError(msg)
    made = _Maker(np.random.default_rng(1 if seed is None else seed), n_side, redshift, concentration)
    made.add_haloes(n_haloes)
    made.add_clusters(n_clusters, round(in_halo * n_clusters), kinds)
    made.fill()
    return made.snapshot(name)


class _Maker:
    """The box as it is being filled; physical units [kpc, km/s, Msun] throughout."""

    def __init__(self, rng: np.random.Generator, n_side: int, redshift: float, concentration: float) -> None:
        self.rng = rng
        self.concentration = concentration
        self.number = n_side**3
        self.a = 1.0 / (1.0 + redshift)
        self.redshift = redshift
        self.unit = self.a / _COSMOLOGY["h"]  # kpc for a code length
        self.code_box = _SPACING * n_side
        self.box = self.code_box * self.unit
        critical = 277.53663  # Msun h^2 / kpc^3
        # 200 times the critical density then, physical; a flat cosmology without radiation.
        expansion = _COSMOLOGY["omega_matter"] * (1 + redshift) ** 3 + _COSMOLOGY["omega_lambda"]
        self.dense = 200.0 * critical * _COSMOLOGY["h"] ** 2 * expansion
        dark = (_COSMOLOGY["omega_matter"] - _COSMOLOGY["omega_baryon"]) * critical
        self.m_dm = dark * _SPACING**3 / _COSMOLOGY["h"]
        self.m_baryon = (
            self.m_dm * _COSMOLOGY["omega_baryon"] / (_COSMOLOGY["omega_matter"] - _COSMOLOGY["omega_baryon"])
        )
        self.mean_gas = self.m_baryon / (_SPACING * self.unit) ** 3
        self.parts: dict[str, list[dict[str, Any]]] = {"dm": [], "gas": [], "stars": []}
        self.haloes: list[dict[str, Any]] = []
        self.truth: list[dict[str, Any]] = []
        self.taken: list[tuple[FloatArray, float]] = []

    # ---------------------------------------------------------------- what is put in

    def add_haloes(self, n: int) -> None:
        """Add haloes with gas in them, the heaviest first."""
        # Enough for the selection of more than 300 particles; in all at most a third of the dark matter.
        numbers = np.sort(350.0 * (self.rng.uniform(size=n) * (1 - 20.0**-0.9) + 20.0**-0.9) ** (-1 / 0.9))[::-1]
        if numbers.sum() > self.number / 3:
            msg = f"{n} haloes do not fit among {self.number} dark-matter particles; give fewer, or a larger n_side"
            raise InputError(msg)
        for count in numbers.astype(int).tolist():
            mass = count * self.m_dm
            reach = (3.0 * mass / (4.0 * np.pi * self.dense)) ** (1 / 3)
            scale = reach / self.concentration
            centre = self._free(1.2 * reach)
            drift = 15.0 * self.rng.standard_normal(3)
            half, ratio = self._halo(count, scale, centre, drift, total=mass)
            # In some haloes the gas has cooled and sunk in, in others not yet: two mean densities.
            shrunk = 0.04 if self.rng.uniform() < 0.5 else 0.15
            self._gas(count, shrunk * reach, centre, drift, total=mass)
            self.haloes.append(
                {
                    "n_dm": count,
                    "mass_dm": mass,
                    "r_200": reach,
                    "scale": scale,
                    "concentration": self.concentration,
                    "r_half": half,
                    "virial_ratio": ratio,
                    "centre": centre % self.box,
                    "drift": drift,
                }
            )

    def add_clusters(self, n: int, n_inside: int, kinds: tuple[float, float, float]) -> None:
        """Add star clusters, the first ``n_inside`` of them in haloes, the very first one across a corner."""
        edges = np.round(np.cumsum([0.0, *kinds]) * n).astype(int)
        state = self.rng.permutation(np.repeat(list(KINDS), np.diff(edges)))
        home = np.full(n, -1)
        home[n - n_inside :] = self.rng.permutation(len(self.haloes))[:n_inside]
        # dN/dM ~ M^-1.7 from 120 to 3000 stars.
        top = 25.0**-0.7
        numbers = (120.0 * (self.rng.uniform(size=n) * (1 - top) + top) ** (-1 / 0.7)).astype(int)
        for row in range(n):
            count = int(numbers[row])
            scale = 1e-3 * float(np.exp(self.rng.uniform(np.log(1.5), np.log(12.0))))
            halo = int(home[row])
            if row == 0 and halo < 0:
                centre, drift = np.zeros(3), 15.0 * self.rng.standard_normal(3)
                self.taken.append((centre, 12.0 * scale))
            elif halo < 0:
                centre, drift = self._free(12.0 * scale), 15.0 * self.rng.standard_normal(3)
            else:
                where = self.haloes[halo]
                centre = where["centre"] + 0.025 * where["r_200"] * self.rng.standard_normal(3)
                drift = where["drift"]
            mass = count * self.m_baryon
            factor = KINDS[str(state[row])]
            rows = self._sphere("stars", count, self.m_baryon, scale, centre, drift, total=mass, factor=factor)
            self._gas(int(count * self.rng.uniform(0.1, 0.6)), 3.0 * scale, centre, drift, total=mass)
            onset, lasting = self.rng.uniform(8.0, 90.0), self.rng.uniform(1.0, 6.0)
            ages = onset - lasting * self.rng.uniform(size=count)
            ages[0] = onset
            metallicity = float(np.exp(self.rng.uniform(np.log(0.005), np.log(0.2))))
            rows |= {"age": ages, "metallicity": np.full(count, 0.02 * metallicity), "cluster": np.full(count, row)}
            self.truth.append(
                {
                    "id": f"T{row:03d}",
                    "kind": str(state[row]),
                    "virial_ratio": 2.0 / factor**2,
                    "n_star": count,
                    "mass": mass,
                    "scale": 1e3 * scale,
                    "r_half": 1304.77 * scale,
                    "age_onset": onset,
                    "metallicity": metallicity,
                    "halo": halo,
                    "centre": centre % self.box,
                }
            )

    def fill(self) -> None:
        """Put the rest of the particles between, and stars of the field into the haloes."""
        for halo in self.haloes:
            count = max(halo["n_dm"] // 60, 4)
            rows = self._sphere(
                "stars",
                count,
                self.m_baryon,
                0.25 * halo["r_200"],
                halo["centre"],
                halo["drift"],
                total=halo["mass_dm"],
            )
            rows |= {"age": self.rng.uniform(5.0, 120.0, count), "metallicity": np.full(count, 2e-4)}
            rows["cluster"] = np.full(count, -1)
        held = {kind: sum(len(each["mass"]) for each in parts) for kind, parts in self.parts.items()}
        for kind, left in (("dm", self.number - held["dm"]), ("gas", self.number - held["gas"] - held["stars"])):
            if left < 0:
                msg = f"there is no room for the {kind} of haloes and clusters; give fewer of them, or a larger n_side"
                raise InputError(msg)
            per_side = max(int(np.ceil(left ** (1 / 3))), 1)
            cells = self.rng.permutation(per_side**3)[:left]
            at = np.stack(np.unravel_index(cells, (per_side,) * 3), axis=1) + self.rng.uniform(0.0, 1.0, (left, 3))
            rows = {"position": at * self.box / per_side, "velocity": 5.0 * self.rng.standard_normal((left, 3))}
            rows["mass"] = np.full(left, self.m_dm if kind == "dm" else self.m_baryon)
            if kind == "gas":
                # Gas of the mean density, long decoupled from the radiation.
                rows |= {"density": np.full(left, self.mean_gas), "temperature": np.full(left, 8.0)}
            self.parts[kind].append(rows)

    # ---------------------------------------------------------------- how

    def _free(self, reach: float) -> FloatArray:
        """Return a place that is clear of all that was put in before."""
        for _ in range(2000):
            point = self.rng.uniform(0.0, self.box, 3)
            away = [np.abs((point - other + self.box / 2) % self.box - self.box / 2) for other, _ in self.taken]
            corner = np.minimum(point, self.box - point)  # kept for the cluster across it
            if np.linalg.norm(corner) > reach + 0.1 and all(
                np.linalg.norm(each) > 1.2 * (reach + other) for each, (_, other) in zip(away, self.taken, strict=True)
            ):
                self.taken.append((point, reach))
                return np.asarray(point)
        msg = (
            f"there is no free place in a box of {self.box:.1f} kpc; give fewer haloes and clusters, or a larger n_side"
        )
        raise InputError(msg)

    def _halo(
        self, n: int, scale: float, centre: FloatArray, drift: FloatArray, *, total: float
    ) -> tuple[float, float]:
        """Add a halo of Navarro, Frenk & White that ends at its radius; return the radius of half of it, and |U|/K."""
        c = self.concentration
        x = np.geomspace(1e-5 * c, c, 4000)
        inside = _within(x) / _within(c)  # share of the mass
        # rho sigma^2 = integral of rho G M / r^2 from here to the end; in units of the scale radius and of G M / scale.
        pull = inside / (x**3 * (1.0 + x) ** 2)
        pieces = 0.5 * (pull[1:] + pull[:-1]) * np.diff(x)
        dispersion = np.append(np.cumsum(pieces[::-1])[::-1], 0.0) * x * (1.0 + x) ** 2
        # Outside of x the shells at y have masses as y / (1 + y)^2.
        depth = inside / x + (1.0 / (1.0 + x) - 1.0 / (1.0 + c)) / _within(c)
        share = (self.rng.permutation(n) + self.rng.uniform(size=n)) / max(n, 1)
        at = np.interp(share, inside, x)
        unit = G * total / scale
        escape = np.sqrt(2.0 * unit * np.interp(at, x, depth))
        motion = np.sqrt(unit * np.interp(at, x, dispersion))[:, None] * self.rng.standard_normal((n, 3))
        speed = np.linalg.norm(motion, axis=1)
        # The few that chance makes too fast are slowed down.
        motion *= np.minimum(1.0, _FASTEST * escape / np.maximum(speed, 1e-12))[:, None]
        offset = (scale * at)[:, None] * self._directions(n)
        rows = {
            "position": centre + offset - offset.mean(axis=0),
            "velocity": drift + motion - motion.mean(axis=0),
            "mass": np.full(n, self.m_dm),
        }
        self.parts["dm"].append(rows)
        # U = - integral of G M dm / r; K as drawn.
        energy = unit * total * float(np.trapezoid(inside / x * np.gradient(inside, x), x))
        kinetic = 0.5 * self.m_dm * float(((rows["velocity"] - drift) ** 2).sum())
        return scale * float(np.interp(0.5, inside, x)), energy / kinetic

    def _sphere(
        self,
        kind: str,
        n: int,
        each: float,
        scale: float,
        centre: FloatArray,
        drift: FloatArray,
        *,
        total: float,
        factor: float = 1.0,
    ) -> dict[str, Any]:
        """Add a Plummer sphere in equilibrium with ``total``, its speeds times ``factor``; return its rows."""
        # Shares of mass in even steps, with their order at random: less scatter than plain draws.
        most = (1.0 + _EDGE**-2) ** -1.5
        share = most * (self.rng.permutation(n) + self.rng.uniform(size=n)) / max(n, 1)
        radius = scale / np.sqrt(np.maximum(share, 1e-12) ** (-2 / 3) - 1.0)
        offset = radius[:, None] * self._directions(n)
        escape = np.sqrt(2.0 * G * total) * (radius**2 + scale**2) ** -0.25
        motion = (factor * self._speed_shares(n) * escape)[:, None] * self._directions(n)
        # Neither place nor motion of the whole is left to chance.
        rows = {
            "position": centre + offset - offset.mean(axis=0),
            "velocity": drift + motion - motion.mean(axis=0),
            "mass": np.full(n, each),
        }
        self.parts[kind].append(rows)
        return rows

    def _gas(self, n: int, scale: float, centre: FloatArray, drift: FloatArray, *, total: float) -> None:
        """Add a sphere of gas with its densities, cooler where it is denser."""
        rows = self._sphere("gas", n, self.m_baryon, scale, centre, drift, total=total, factor=0.5)
        away = ((rows["position"] - centre) ** 2).sum(axis=1) / scale**2
        rows["density"] = self.mean_gas + 3.0 * n * self.m_baryon / (4.0 * np.pi * scale**3) * (1.0 + away) ** -2.5
        # A track through the plane of density and temperature: heated to a few 1000 K, then cooled by H2 to 200 K.
        hydrogen = rows["density"] * _PER_CM3
        rows["temperature"] = 200.0 + 2500.0 / (1.0 + (hydrogen / 3.0) ** 0.8)
        rows["temperature"] *= np.exp(0.2 * self.rng.standard_normal(n))

    def _directions(self, n: int) -> FloatArray:
        out = self.rng.standard_normal((n, 3))
        return np.asarray(out / np.linalg.norm(out, axis=1)[:, None])

    def _speed_shares(self, n: int) -> FloatArray:
        """Return speeds over the escape speed of a Plummer sphere in equilibrium (Aarseth, Henon & Wielen 1974)."""
        from scipy.special import betainc

        # The density q^2 (1 - q^2)^(7/2) is that of a beta distribution in q^2.
        grid = np.linspace(0.0, 1.0, 2001)
        return np.interp(self.rng.uniform(size=n), betainc(1.5, 4.5, grid**2), grid)

    # ---------------------------------------------------------------- the outcome

    def snapshot(self, name: str) -> MockSnapshot:
        """Return everything in the units of a file."""
        h = _COSMOLOGY["h"]
        joined = {
            kind: {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
            for kind, parts in self.parts.items()
        }
        particles: dict[str, dict[str, Any]] = {}
        first = 1
        for kind, rows in joined.items():
            n = len(rows["mass"])
            at = np.mod(rows["position"] / self.unit, self.code_box)
            at[at >= self.code_box] = 0.0
            particles[kind] = {
                "Coordinates": at,
                "Velocities": (rows["velocity"] / np.sqrt(self.a)).astype(np.float32),
                "Masses": (rows["mass"] * h / 1e10).astype(np.float32),
                "ParticleIDs": np.arange(first, first + n, dtype=np.uint64),
            }
            first += n
        gas = joined["gas"]
        per_mass = 1.5 * (const.k_B / (_MU * const.m_p)).to_value(u.km**2 / u.s**2 / u.K)
        particles["gas"] |= {
            "Density": (gas["density"] * self.a**3 / (1e10 * h**2)).astype(np.float32),
            "InternalEnergy": (gas["temperature"] * per_mass).astype(np.float32),
        }
        stars = joined["stars"]
        particles["stars"] |= {
            "GFM_StellarFormationTime": self._formed(stars["age"]).astype(np.float32),
            "GFM_Metallicity": stars["metallicity"].astype(np.float32),
        }
        box = Snapshot.from_arrays(
            particles, box_size=self.code_box, name=name, time=self.a, redshift=self.redshift, **_COSMOLOGY
        )
        return MockSnapshot(
            box.header,
            box.name,
            box.particles,
            truth=_table(self.truth, {"mass": u.Msun, "scale": u.pc, "r_half": u.pc, "age_onset": u.Myr}),
            haloes=_table(self.haloes, {"mass_dm": u.Msun, "r_200": u.kpc, "scale": u.kpc, "r_half": u.kpc}),
            star_cluster=stars["cluster"].astype(np.int64),
        )

    def _formed(self, age: FloatArray) -> FloatArray:
        """Return the scale factor at an age [Myr] before the snapshot, in closed form for a flat cosmology."""
        matter, dark = _COSMOLOGY["omega_matter"], _COSMOLOGY["omega_lambda"]
        rate = 1.5 * np.sqrt(dark) * (100.0 * _COSMOLOGY["h"] * u.km / u.s / u.Mpc).to_value(1 / u.Myr)
        now = np.arcsinh(np.sqrt(dark / matter) * self.a**1.5)
        return np.asarray((np.sqrt(matter / dark) * np.sinh(np.maximum(now - rate * age, 1e-6))) ** (2 / 3))


def _within(x: Any) -> Any:
    """Return the mass within x scale radii of a halo, in units of 4 pi rho r^3 (Navarro, Frenk & White 1997)."""
    return np.log1p(x) - x / (1.0 + x)


#: Hydrogen nuclei in a cubic centimetre for a gas density of 1 Msun / kpc^3.
_PER_CM3 = _HYDROGEN * 1.98840987e33 / (3.0856775814913673e21**3 * 1.67262192e-24)


def _table(rows: list[dict[str, Any]], units: dict[str, u.UnitBase]) -> QTable:
    """Return rows as a table with units, places in columns of their own."""
    table = QTable()
    for name in rows[0] if rows else ():
        values = np.array([row[name] for row in rows])
        if name == "centre":
            for axis, column in enumerate(("x", "y", "z_position")):
                table[column] = values[:, axis] * u.kpc
        elif name != "drift":
            table[name] = values * units[name] if name in units else values
    return table
