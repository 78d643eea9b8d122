"""Snapshots of what other packages have loaded: data sets of yt, and of pynbody, without either of them being needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sc_lab.errors import InputError
from sc_lab.simulations.header import N_TYPES, Header
from sc_lab.simulations.snapshot import TYPES, Particles, Snapshot, check_header
from sc_lab.units import FloatArray

__all__ = ["from_pynbody", "from_yt"]

#: Names of particle types in the frontends of yt, by type here, the first that is there is taken.
_YT_TYPES: dict[str, tuple[str, ...]] = {
    "gas": ("PartType0", "Gas", "gas"),
    "dm": ("PartType1", "DarkMatter", "dark_matter", "Halo", "DM", "dm", "dark", "N-BODY"),
    "stars": ("PartType4", "Stars", "stars", "star", "STAR"),
    "black_holes": ("PartType5", "black_holes", "sink"),
}
_LENGTH, _SPEED, _MASS, _DENSITY, _SPEED2 = "kpc", "km/s", "Msun", "Msun/kpc**3", "km**2/s**2"


@dataclass(frozen=True)
class _Source:
    """Where a field may come from.

    Attributes
    ----------
    names : tuple of str
        Names, the first that is there is taken; "x" and "velocity_x" stand for the three fields of the axes.
    unit : str
        The unit it is asked for; empty for plain numbers as they are.
    power : float
        Power of the scale factor that leads from physical units to those of the code.
    h : float
        Power of h that does.
    """

    names: tuple[str, ...]
    unit: str
    power: float = 0.0
    h: float = 0.0


#: Where the fields come from, by the names that they have in files.
_YT_FIELDS: dict[str, _Source] = {
    "Coordinates": _Source(("particle_position", "x"), _LENGTH, -1.0, 1.0),
    "Velocities": _Source(("particle_velocity", "velocity_x"), _SPEED, -0.5),
    "Masses": _Source(("particle_mass", "cell_mass", "mass"), _MASS, 0.0, 1.0),
    "ParticleIDs": _Source(("ParticleIDs", "particle_index"), ""),
    "Density": _Source(("Density", "density"), _DENSITY, 3.0, -2.0),
    "InternalEnergy": _Source(("InternalEnergy", "specific_thermal_energy", "thermal_energy"), _SPEED2),
    "ElectronAbundance": _Source(("ElectronAbundance",), ""),
    "GFM_StellarFormationTime": _Source(("GFM_StellarFormationTime", "StellarFormationTime"), ""),
    "GFM_Metallicity": _Source(("GFM_Metallicity", "Metallicity", "metallicity", "particle_metallicity"), ""),
}
#: Times at which stars formed, on the clock of the data set.
_YT_BIRTH = ("creation_time", "particle_creation_time", "particle_birth_time", "birth_time")
_PYNBODY_FIELDS: dict[str, _Source] = {
    "Coordinates": _Source(("pos",), "kpc", -1.0, 1.0),
    "Velocities": _Source(("vel",), "km s**-1", -0.5),
    "Masses": _Source(("mass",), "Msol", 0.0, 1.0),
    "ParticleIDs": _Source(("iord",), ""),
    "Density": _Source(("rho",), "Msol kpc**-3", 3.0, -2.0),
    "InternalEnergy": _Source(("u",), "km**2 s**-2"),
    "ElectronAbundance": _Source(("ElectronAbundance", "elec"), ""),
    "GFM_StellarFormationTime": _Source(("GFM_StellarFormationTime",), ""),
    "GFM_Metallicity": _Source(("GFM_Metallicity", "metals"), ""),
}
#: Families of pynbody by type here.
_PYNBODY_TYPES: dict[str, tuple[str, ...]] = {
    "gas": ("gas",),
    "dm": ("dm",),
    "stars": ("star",),
    "black_holes": ("bh",),
}
_NEEDED = ("Coordinates", "Velocities", "Masses")
#: Units of the code in cgs: those of astropy, so that physical values come back as they were.
_KPC, _SUN = 3.0856775814913673e21, 1.988409870698051e33


class _Column:
    """A field that is read when it is first asked for, in the units of the code."""

    def __init__(self, read: Callable[[Header], npt.NDArray[Any]], header: Header, number: int, name: str) -> None:
        self._read, self._header, self._number, self._name = read, header, number, name
        self._values: npt.NDArray[Any] | None = None

    def __len__(self) -> int:
        return self._number

    def __getitem__(self, rows: Any) -> npt.NDArray[Any]:
        return np.asarray(self._all()[rows])

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the values."""
        return self._all().shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self._all().dtype

    def keep(self, values: npt.NDArray[Any]) -> None:
        """Keep values that have been read already."""
        if len(values) != self._number:
            msg = f"{self._name} has {len(values)} rows for {self._number} particles; the data set is not whole"
            raise InputError(msg)
        # Identifiers come as floats from some readers.
        whole = self._name.startswith("ParticleIDs") and values.dtype.kind == "f"
        self._values = values.astype(np.uint64) if whole else values

    def _all(self) -> npt.NDArray[Any]:
        if self._values is None:
            self.keep(self._read(self._header))
        return np.asarray(self._values)


class _Fields(Mapping[str, Any]):
    """The fields of one type of particles."""

    def __init__(self, columns: Mapping[str, _Column]) -> None:
        self._columns = columns

    def __getitem__(self, name: str) -> _Column:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


def from_yt(
    ds: Any, *, types: Mapping[str, str] | None = None, fields: Mapping[str, str] | None = None, **header: Any
) -> Snapshot:
    """Return the snapshot of a data set that yt has loaded.

    Parameters
    ----------
    ds : yt data set
        What ``yt.load`` returns, of particles or of cells; yt itself is not imported here.
    types : mapping of str to str, optional
        The names that "gas", "dm", "stars" and "black_holes" have in the data set, particle filters among them; by
        default those of the usual formats ("PartType4", "Stars", ...). Cells of a grid are the type "gas".
    fields : mapping of str to str, optional
        The names that fields have in the data set, by their names in files of AREPO, where the usual ones are not
        meant: ``{"GFM_Metallicity": "particle_metallicity"}``.
    **header
        Entries of `Header` that go before those of the data set, such as ``omega_baryon``, which few formats tell yt.

    Returns
    -------
    Snapshot
        In comoving kpc/h, 1e10 Msun/h and km/s over the square root of the scale factor; without expansion in kpc,
        1e10 Msun and km/s. Fields are read when they are first asked for, and kept.

    Raises
    ------
    InputError
        If the object is no data set, a type or field is not in it, or a field has a unit of the wrong kind; the message
        lists what there is.

    Notes
    -----
    For AREPO's files yt has 1e10 Msun/h for the unit of mass whatever their headers say, where `read_snapshot` takes
    theirs: a difference of 3e-4 for 1.989e43 g. Rows are in the order of yt.
    """
    if not all(hasattr(ds, name) for name in ("all_data", "field_list", "domain_width")):
        msg = f"ds is a {type(ds).__name__}; give a data set of yt, as yt.load returns it"
        raise InputError(msg)
    known = {tuple(each) for each in (*ds.field_list, *getattr(ds, "derived_field_list", ()))}
    held: dict[str, set[str]] = {}
    for kind, name in known:
        held.setdefault(kind, set()).add(name)
    comoving = bool(getattr(ds, "cosmological_simulation", False))
    a = 1.0 / (1.0 + float(ds.current_redshift)) if comoving else 1.0
    h = float(ds.hubble_constant) if comoving else 1.0
    width = _plain(ds.domain_width, _LENGTH, "domain_width") * h / a
    cautions = []
    box = float(width[0])
    if not all(getattr(ds, "periodicity", (False,))) or not np.allclose(width, box, rtol=1e-9):
        cautions.append("the domain is not a periodic cube: no box is taken")
        box = 0.0
    corner = np.zeros(3)
    if box > 0 and hasattr(ds, "domain_left_edge"):
        corner = _plain(ds.domain_left_edge, _LENGTH, "domain_left_edge") * h / a
    parameters = getattr(ds, "parameters", None)
    parameters = parameters if isinstance(parameters, Mapping) else {}
    entries = {
        "time": a if comoving else _plain(getattr(ds, "current_time", 0.0), "", "current_time").item(),
        "redshift": 1.0 / a - 1.0,
        "h": h,
        "omega_matter": float(getattr(ds, "omega_matter", np.nan)) if comoving else np.nan,
        "omega_lambda": float(getattr(ds, "omega_lambda", np.nan)) if comoving else np.nan,
        "omega_baryon": float(parameters.get("OmegaBaryon", np.nan)) if comoving else np.nan,
        "comoving": comoving,
        "cautions": tuple(cautions),
    }
    sources = _renamed(_YT_FIELDS, fields)

    def one(kind: str, name: str) -> dict[str, Callable[[Header], npt.NDArray[Any]]]:
        out: dict[str, Callable[[Header], npt.NDArray[Any]]] = {}
        for field, source in sources.items():
            given = next((each for each in source.names if each in held[name]), None)
            if given is not None:
                out[field] = _yt_reader(ds, name, given, source, corner if field == "Coordinates" else 0.0)
        if "Potential" in held[name]:
            # yt has the scale factor of velocities in it, files have none.
            out["Potential"] = lambda made: _plain(ds.all_data()[name, "Potential"], _SPEED2, "Potential") / made.a
        birth = next((each for each in _YT_BIRTH if each in held[name]), None)
        if kind == "stars" and "GFM_StellarFormationTime" not in out and comoving and birth is not None:
            out["GFM_StellarFormationTime"] = lambda made: _formed(
                made, _plain(ds.current_time, "Myr", "current_time") - _plain(ds.all_data()[name, birth], "Myr", birth)
            )
        _demand(out, sources, kind, name, held[name])
        return out

    # What has no masses is no matter: yt knows places of cells also where there is no gas in them.
    places, masses = ({*sources[field].names} for field in ("Coordinates", "Masses"))
    chosen = _chosen(_YT_TYPES, types, {kind for kind, names in held.items() if names & places and names & masses})
    loaders = {kind: one(kind, name) for kind, name in chosen.items()}
    return _snapshot(loaders, entries | header, box, str(getattr(ds, "basename", "") or ds))


def from_pynbody(sim: Any, *, fields: Mapping[str, str] | None = None, **header: Any) -> Snapshot:
    """Return the snapshot of what pynbody has loaded.

    Parameters
    ----------
    sim : pynbody SimSnap
        What ``pynbody.load`` returns; pynbody itself is not imported here.
    fields : mapping of str to str, optional
        The names that arrays have there, by their names in files of AREPO, where the usual ones are not meant.
    **header
        Entries of `Header` that go before those of the snapshot, such as ``omega_baryon``, which pynbody does not keep.

    Returns
    -------
    Snapshot
        In the units of `from_yt`.

    Raises
    ------
    InputError
        If the object is no snapshot, or an array is missing or in a unit of the wrong kind.
    """
    if not all(hasattr(sim, name) for name in ("properties", "families", "loadable_keys")):
        msg = f"sim is a {type(sim).__name__}; give a snapshot of pynbody, as pynbody.load returns it"
        raise InputError(msg)
    about = sim.properties
    a = float(about.get("a", 1.0))
    comoving = "omegaM0" in about and a > 0
    h = float(about.get("h", 1.0)) if comoving else 1.0
    a = a if comoving else 1.0
    box = about.get("boxsize")
    if box is not None and hasattr(box, "in_units"):
        context = sim.conversion_context() if hasattr(sim, "conversion_context") else {}
        box = float(np.asarray(box.in_units("kpc", **context)))
    entries = {
        "time": a,
        "redshift": 1.0 / a - 1.0,
        "h": h,
        "omega_matter": float(about.get("omegaM0", np.nan)),
        "omega_lambda": float(about.get("omegaL0", np.nan)),
        "omega_baryon": float(about.get("omegaB0", np.nan)),
        "comoving": comoving,
        "cautions": () if box else ("the snapshot has no size of a box: none is taken",),
    }
    sources = _renamed(_PYNBODY_FIELDS, fields)
    families = {str(each): each for each in sim.families()}
    loaders: dict[str, dict[str, Callable[[Header], npt.NDArray[Any]]]] = {}
    for kind, names in _PYNBODY_TYPES.items():
        family = next((families[each] for each in names if each in families), None)
        if family is None:
            continue
        part = sim[family]
        there = set(part.loadable_keys()) | set(part.keys())
        out = loaders[kind] = {}
        for field, source in sources.items():
            given = next((each for each in source.names if each in there), None)
            if given is not None:
                out[field] = _pynbody_reader(part, given, source)
        _demand(out, sources, kind, str(family), there)
    return _snapshot(loaders, entries | header, float(box or 0.0) * h / a, str(getattr(sim, "filename", "pynbody")))


# ---------------------------------------------------------------------- readers


def _yt_reader(ds: Any, kind: str, name: str, source: _Source, corner: Any) -> Callable[[Header], npt.NDArray[Any]]:
    """Return what reads one field of a data set, in the units of the code."""
    # Cells of grids have a field for each axis.
    names = [name[:-1] + axis for axis in "xyz"] if name in ("x", "velocity_x") else [name]

    def read(made: Header) -> npt.NDArray[Any]:
        # A region of its own, as yt would keep every field of a common one, and forgets data sets that nothing holds.
        region = ds.all_data()
        parts = [_plain(region[kind, each], source.unit, f"{each} of {kind}") for each in names]
        values = parts[0] if len(parts) == 1 else np.stack(parts, axis=1)
        return np.asarray(_in_code(values, source, made) - corner)

    return read


def _pynbody_reader(part: Any, name: str, source: _Source) -> Callable[[Header], npt.NDArray[Any]]:
    """Return what reads one array of a family, in the units of the code."""

    def read(made: Header) -> npt.NDArray[Any]:
        values = part[name]
        if source.unit:
            try:
                # Specific energies have no factor of expansion in files, though velocities do.
                values = values.in_units(source.unit, **({"a": 1.0} if name == "u" else {}))
            except Exception as err:
                msg = f"{name} is in {getattr(values, 'units', 'no unit')}, which does not convert to {source.unit}"
                raise InputError(msg) from err
        return _in_code(np.asarray(values, dtype=np.float64), source, made)

    return read


def _plain(value: Any, unit: str, name: str) -> FloatArray:
    """Return numbers in a unit of yt; as they are where none is asked for."""
    if unit:
        try:
            value = value.to(unit)
        except Exception as err:
            found = getattr(value, "units", None)
            msg = f"{name} is in {found or 'no unit'}, which does not convert to {unit}; set the units when yt loads the data"
            raise InputError(msg) from err
    return np.asarray(getattr(value, "value", value), dtype=np.float64)


def _in_code(values: FloatArray, source: _Source, made: Header) -> FloatArray:
    """Return physical values in the units of the code."""
    heavy = 1e-10 if source.unit.lower().startswith("ms") else 1.0
    return np.asarray(values * (heavy * made.a**source.power * made.h**source.h))


def _formed(made: Header, age: FloatArray) -> FloatArray:
    """Return scale factors at ages [Myr] before the snapshot."""
    at = np.geomspace(1e-3, 1.01 * made.a, 4000)
    times = made.cosmology.age(1.0 / at - 1.0).to_value("Myr")
    return np.asarray(np.interp(np.interp(made.a, at, times) - age, times, at))


# ---------------------------------------------------------------------- putting together


def _renamed(sources: Mapping[str, _Source], fields: Mapping[str, str] | None) -> dict[str, _Source]:
    """Return where fields come from, with the user's own names first."""
    if fields is not None and not isinstance(fields, Mapping):
        msg = f"fields is {fields!r}; give a mapping of names in files of AREPO to names in the data set"
        raise InputError(msg)
    out = dict(sources)
    for field, name in (fields or {}).items():
        if field not in out:
            msg = f"fields has {field!r}; give names for {', '.join(out)}"
            raise InputError(msg)
        source = out[field]
        out[field] = _Source((str(name),), source.unit, source.power, source.h)
    return out


def _chosen(
    usual: Mapping[str, tuple[str, ...]], types: Mapping[str, str] | None, there: Iterable[str]
) -> dict[str, str]:
    """Return the name of each type in the data set."""
    names = sorted(there)
    if types is None:
        found = {kind: next((each for each in tried if each in names), "") for kind, tried in usual.items()}
        found = {kind: name for kind, name in found.items() if name}
        if not found:
            msg = f"no type of particles has a name that is known here; say types= with those of: {', '.join(names) or 'none'}"
            raise InputError(msg)
        return found
    if not isinstance(types, Mapping) or not types or set(types) - set(usual):
        msg = f"types is {types!r}; give the names in the data set of one or more of {', '.join(usual)}"
        raise InputError(msg)
    for kind, name in types.items():
        if name not in names:
            msg = f"the data set has no type {name!r} for {kind} with places and masses; it has: {', '.join(names) or 'none'}"
            raise InputError(msg)
    return dict(types)


def _demand(out: Mapping[str, Any], sources: Mapping[str, _Source], kind: str, name: str, there: Iterable[str]) -> None:
    """Refuse particles without places, velocities or masses."""
    missing = [field for field in _NEEDED if field not in out]
    if missing:
        tried = "; ".join(f"{field} as {' or '.join(sources[field].names)}" for field in missing)
        # What packages derive from places and velocities would hide the rest.
        derived = ("cylindrical", "spherical", "relative", "angular", "radial")
        has = ", ".join(sorted(each for each in there if not any(word in each for word in derived))[:15])
        msg = f"{name} ({kind}) has no {', '.join(missing)} (looked for {tried}); it has {has}; say which in fields="
        raise InputError(msg)


def _snapshot(
    loaders: Mapping[str, Mapping[str, Callable[[Header], npt.NDArray[Any]]]],
    entries: Mapping[str, Any],
    box: float,
    name: str,
) -> Snapshot:
    """Return the snapshot whose fields these functions read."""
    check_header(entries, box)
    usual: dict[str, Any] = {"mass_table": (0.0,) * N_TYPES, "length_cm": _KPC, "mass_g": 1e10 * _SUN}
    numbers = [0] * N_TYPES
    made = Header(box_size=box, numbers=tuple(numbers), **(usual | dict(entries)))
    parts: list[tuple[Mapping[str, Any], ...]] = [() for _ in range(N_TYPES)]
    for kind, readers in loaders.items():
        at = readers["Coordinates"](made)
        if at.ndim != 2 or at.shape[1] != 3:
            msg = f"the positions of {kind} have the shape {at.shape}; they must be (n, 3)"
            raise InputError(msg)
        numbers[TYPES.index(kind)] = len(at)
        if len(at):
            columns = {field: _Column(read, made, len(at), f"{field} of {kind}") for field, read in readers.items()}
            columns["Coordinates"].keep(at)
            parts[TYPES.index(kind)] = (_Fields(columns),)
    made = replace(made, numbers=tuple(numbers))
    return Snapshot(made, name, tuple(Particles(numbers[k], k, made, parts[k], name) for k in range(N_TYPES)))
