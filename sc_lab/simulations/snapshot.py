"""Snapshots of simulations: files of AREPO or GADGET in HDF5, or arrays, read a field and a piece at a time."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

import astropy.units as u
import numpy as np
import numpy.typing as npt

from sc_lab.errors import InputError
from sc_lab.simulations._checks import instance, number
from sc_lab.simulations.header import N_TYPES, Header, read_header
from sc_lab.simulations.scaling import to_physical

__all__ = ["TYPES", "Particles", "Snapshot", "check_header", "open_hdf5", "part_paths", "read_snapshot", "with_header"]

#: Names of the particle types, in the order of their numbers in the files.
TYPES = ("gas", "dm", "type2", "type3", "stars", "black_holes")
_CHUNK = 1_000_000


@dataclass(frozen=True, eq=False)
class Particles:
    """The particles of one type; fields are read when they are asked for.

    Attributes
    ----------
    number : int
        Particles of this type.
    type : int
        Number of the type in the files: 0 gas, 1 dark matter, 4 stars, 5 black holes.
    header : Header
        That of the snapshot.
    parts : tuple
        Where fields come from: groups of HDF5 files, or mappings of arrays, one after the other.
    """

    number: int
    type: int
    header: Header
    parts: tuple[Mapping[str, Any], ...] = field(repr=False)
    where: str = "the snapshot"

    def __len__(self) -> int:
        return self.number

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields that there are; masses also where the header has one for all."""
        names = dict.fromkeys(name for part in self.parts for name in part)
        if self.header.mass_table[self.type] > 0:
            names.setdefault("Masses")
        return tuple(names)

    def __contains__(self, name: object) -> bool:
        return name in self.fields

    def code(self, name: str, rows: slice | None = None) -> npt.NDArray[Any]:
        """Return a field in the units of the code.

        Parameters
        ----------
        name : str
            Name in the file, such as ``"Coordinates"``.
        rows : slice, optional
            The rows to read; all by default.

        Returns
        -------
        ndarray, shape (n,) or (n, 3)
            Values as stored; masses come from the table of the header where the file has none.

        Raises
        ------
        InputError
            If the field is not in the file; the message lists those that are.
        """
        begin, end, step = (rows or slice(None)).indices(self.number)
        if step != 1:
            msg = f"rows is {rows!r}; give a slice without a step"
            raise InputError(msg)
        if name == "Masses" and self.header.mass_table[self.type] > 0 and not self._stored(name):
            return np.full(max(end - begin, 0), self.header.mass_table[self.type])
        if not self._stored(name):
            kind = TYPES[self.type]
            there = ", ".join(self.fields) or "none, as there are no such particles"
            msg = f"{self.where} has no field {name!r} for {kind} (PartType{self.type}); it has: {there}"
            raise InputError(msg)
        out, at = [], 0
        for part in self.parts:
            data = part[name]
            low, high = max(begin - at, 0), min(end - at, len(data))
            if low < high:
                out.append(np.asarray(data[low:high]))
            at += len(data)
        if not out:
            first = self.parts[0][name]
            return np.empty((0, *first.shape[1:]), dtype=first.dtype)
        return out[0] if len(out) == 1 else np.concatenate(out)

    def __getitem__(self, name: str) -> u.Quantity:
        """Return a field in physical units: kpc, km/s, solar masses; plain numbers where none are known."""
        return self.physical(name)

    def physical(self, name: str, rows: slice | None = None) -> u.Quantity:
        """Return a field in physical units, without h and scale factor.

        Parameters
        ----------
        name : str
            Name in the file.
        rows : slice, optional
            The rows to read.

        Returns
        -------
        Quantity
            float64; dimensionless for fields whose unit is not known.
        """
        values = np.asarray(self.code(name, rows), dtype=np.float64)
        attributes = next((dict(getattr(part[name], "attrs", {})) for part in self.parts if name in part), {})
        scale = to_physical(name, self.header, attributes)
        if scale is None:
            return values * u.dimensionless_unscaled
        return u.Quantity(values * scale[0], scale[1], copy=False)

    def chunks(self, name: str, *, size: int = _CHUNK) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
        """Yield a field piece by piece, in the units of the code, so that it need not fit in memory.

        Parameters
        ----------
        name : str
            Name in the file.
        size : int
            Rows of a piece.

        Yields
        ------
        (slice, ndarray)
            Rows, and their values.
        """
        for low in range(0, self.number, size):
            rows = slice(low, min(low + size, self.number))
            yield rows, self.code(name, rows)

    def _stored(self, name: str) -> bool:
        return bool(self.parts) and all(name in part for part in self.parts)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A snapshot: a header, and particles by type.

    Attributes
    ----------
    header : Header
        Box, time, cosmology and units.
    name : str
        Where it comes from.
    particles : tuple of Particles
        The six types.
    """

    header: Header
    name: str
    particles: tuple[Particles, ...] = field(repr=False)
    _files: tuple[Any, ...] = field(default=(), repr=False)

    @property
    def gas(self) -> Particles:
        """Gas cells (type 0)."""
        return self.particles[0]

    @property
    def dm(self) -> Particles:
        """Dark matter (type 1)."""
        return self.particles[1]

    @property
    def stars(self) -> Particles:
        """Stars (type 4)."""
        return self.particles[4]

    @property
    def black_holes(self) -> Particles:
        """Black holes (type 5)."""
        return self.particles[5]

    @property
    def cautions(self) -> tuple[str, ...]:
        """What was odd in the files, and how it was read."""
        return self.header.cautions

    def close(self) -> None:
        """Close the files; fields cannot be read any more."""
        for file in self._files:
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @classmethod
    def from_arrays(
        cls, particles: Mapping[str, Mapping[str, Any]], *, box_size: float = 0.0, name: str = "arrays", **header: Any
    ) -> Snapshot:
        """Return a snapshot of arrays in memory.

        Parameters
        ----------
        particles : mapping of str to mapping of str to array_like
            By type (``"gas"``, ``"dm"``, ``"stars"``, ``"black_holes"``) the fields in code units, named as in files:
            Coordinates (n, 3), Velocities (n, 3), Masses (n,) and others.
        box_size : float
            Side of the periodic box; 0 for none.
        name : str
            What to call it.
        **header
            Further entries of `Header`, such as ``redshift`` or ``time`` (the scale factor; one follows from the other),
            ``h``, ``omega_matter``.

        Returns
        -------
        Snapshot
            The snapshot.

        Raises
        ------
        InputError
            If a type or an entry of the header is not known, fields differ in length or carry units, positions are not
            (n, 3), or redshift, scale factor, h and box cannot be.
        """
        check_header(header, box_size)
        if not isinstance(particles, Mapping) or not all(isinstance(each, Mapping) for each in particles.values()):
            msg = f"particles is a {type(particles).__name__}; give a mapping of types to mappings of fields"
            raise InputError(msg)
        unknown = sorted(map(str, set(particles) - set(TYPES)))
        if unknown:
            msg = f"particle types {', '.join(map(repr, unknown))} are not known; give {', '.join(TYPES)}"
            raise InputError(msg)
        parts: list[tuple[Mapping[str, Any], ...]] = []
        numbers = []
        for kind in TYPES:
            given = {key: _plain(value, key, kind) for key, value in particles.get(kind, {}).items()}
            lengths = {len(value) for value in given.values()}
            if len(lengths) > 1:
                said = ", ".join(f"{key} {len(value)}" for key, value in given.items())
                msg = f"the fields of {kind} differ in length ({said}); give one row for each particle"
                raise InputError(msg)
            for key, shape in _SHAPES.items():
                if key in given and given[key].shape[1:] != shape:
                    wanted = ", ".join(("n", *map(str, shape)))
                    msg = f"{key} of {kind} have the shape {given[key].shape}; give ({wanted})"
                    raise InputError(msg)
            numbers.append(lengths.pop() if lengths else 0)
            parts.append((given,) if given else ())
        entries: dict[str, Any] = {
            "time": 1.0,
            "redshift": 0.0,
            "h": 1.0,
            "omega_matter": np.nan,
            "omega_lambda": np.nan,
            "omega_baryon": np.nan,
            "mass_table": (0.0,) * N_TYPES,
        }
        entries |= _times(header)
        made = Header(box_size=float(box_size), numbers=tuple(numbers), **(entries | header))
        return cls(made, name, _particles(made, parts, name))

    @staticmethod
    def from_yt(
        ds: Any, *, types: Mapping[str, str] | None = None, fields: Mapping[str, str] | None = None, **header: Any
    ) -> Snapshot:
        """Return the snapshot of a data set that yt has loaded, of any of its formats.

        Parameters
        ----------
        ds : yt data set
            What ``yt.load`` returns; yt itself is not imported.
        types : mapping of str to str, optional
            The names that "gas", "dm", "stars" and "black_holes" have in it, where they are not the usual ones.
        fields : mapping of str to str, optional
            The names that fields have in it, by their names in files of AREPO.
        **header
            Entries of `Header` that go before those of the data set.

        Returns
        -------
        Snapshot
            See `sc_lab.simulations.adapters.from_yt`.
        """
        from sc_lab.simulations.adapters import from_yt

        return from_yt(ds, types=types, fields=fields, **header)

    @staticmethod
    def from_pynbody(sim: Any, *, fields: Mapping[str, str] | None = None, **header: Any) -> Snapshot:
        """Return the snapshot of what pynbody has loaded.

        Parameters
        ----------
        sim : pynbody SimSnap
            What ``pynbody.load`` returns; pynbody itself is not imported.
        fields : mapping of str to str, optional
            The names that arrays have there, by their names in files of AREPO.
        **header
            Entries of `Header` that go before those of the snapshot.

        Returns
        -------
        Snapshot
            See `sc_lab.simulations.adapters.from_pynbody`.
        """
        from sc_lab.simulations.adapters import from_pynbody

        return from_pynbody(sim, fields=fields, **header)


#: What follows the number of particles in the shape of a field.
_SHAPES: dict[str, tuple[int, ...]] = {"Coordinates": (3,), "Velocities": (3,), "Masses": ()}


def _plain(value: Any, name: str, kind: str) -> npt.NDArray[Any]:
    """Return a field as an array of plain numbers, one row for each particle."""
    unit = getattr(value, "unit", getattr(value, "units", None))
    if str(unit or "") not in ("", "dimensionless", "1", "NoUnit()"):
        msg = (
            f"{name} of {kind} carries the unit {unit}, but fields are in code units (comoving, with h); give its "
            "numbers in those"
        )
        raise InputError(msg)
    array = np.asarray(value)
    if not array.ndim:
        msg = f"{name} of {kind} is {value!r}; give one row for each particle"
        raise InputError(msg)
    return array


def check_header(header: Mapping[str, Any], box_size: float) -> None:
    """Refuse entries that no header has, or that no box and no cosmology can have.

    Parameters
    ----------
    header : mapping
        Entries of `Header`.
    box_size : float
        Side of the box.

    Raises
    ------
    InputError
        If an entry is not known or cannot be.
    """
    known = [each.name for each in fields(Header) if each.name not in ("box_size", "numbers")]
    unknown = sorted(set(header) - set(known) - {"box_size"})
    if unknown:
        msg = f"a header has no {', '.join(unknown)}; it has {', '.join(known)}"
        raise InputError(msg)
    number(box_size, "box_size", "the side of the periodic box in code units, or 0 for none", closed=True)
    if "h" in header:
        number(header["h"], "h", "the Hubble constant over 100 km/s/Mpc, such as 0.7", high=10.0)
    limits = {
        "time": ("a time, or the scale factor 1 / (1 + z)", 0.0),
        "redshift": ("a redshift above -1, or as time the scale factor 1 / (1 + z)", -1.0),
    }
    for name, (said, low) in limits.items():
        if name in header:
            number(header[name], name, said, low=low, closed=name == "time")


def _times(header: Mapping[str, Any]) -> dict[str, float]:
    """Return scale factor and redshift of a cosmological run, one from the other where only one is given."""
    if not header.get("comoving", True) or not {"time", "redshift"} & set(header):
        return {}
    a = float(header["time"]) if "time" in header else 1.0 / max(1.0 + float(header["redshift"]), 1e-300)
    z = float(header["redshift"]) if "redshift" in header else 1.0 / max(a, 1e-300) - 1.0
    # To the digits with which headers are typed.
    if not (0 < a < 1e3 and abs(a * (1.0 + z) - 1.0) < 0.01):
        msg = f"time is {a:g} and redshift {z:g}; give the scale factor 1 / (1 + z), or one of the two"
        raise InputError(msg)
    return {"time": a, "redshift": z}


def read_snapshot(source: Any) -> Snapshot:
    """Open a snapshot; nothing but its header is read until it is asked for.

    Parameters
    ----------
    source : path, h5py.File, or sequence of paths
        A file, one of several parts (the others are found beside it), the folder of the parts, or all parts.

    Returns
    -------
    Snapshot
        With `gas`, `dm`, `stars` and `black_holes`; close it, or use it in a ``with`` block.

    Raises
    ------
    InputError
        If the file is no HDF5 snapshot, a part is missing, or the parts do not belong together.

    Notes
    -----
    Formats of GADGET-3/4 and AREPO: groups ``PartType0`` (gas) to ``PartType5`` (black holes), with the header in the
    attributes of ``Header``. Types without particles have no group; masses may stand in the header's table.
    """
    import h5py

    if isinstance(source, h5py.File):
        files, paths = [source], [Path(str(source.filename))]
    else:
        paths = part_paths(source)
        files = []
    with contextlib.ExitStack() as opened:
        if not files:
            files = [opened.enter_context(open_hdf5(path)) for path in paths]
        headers = [_header(file, path) for file, path in zip(files, paths, strict=True)]
        expected = int(np.asarray(files[0]["Header"].attrs.get("NumFilesPerSnapshot", 1)).ravel()[0])
        if expected != len(files):
            msg = f"{paths[0].name} is one of {expected} parts, but {len(files)} were found; put the others beside it"
            raise InputError(msg)
        header = headers[0]
        parts: list[tuple[Mapping[str, Any], ...]] = [
            tuple(
                file[f"PartType{kind}"] for file in files if f"PartType{kind}" in file and len(file[f"PartType{kind}"])
            )
            for kind in range(N_TYPES)
        ]
        held = [sum(_length(group) for group in groups) for groups in parts]
        if list(header.numbers) != held:
            msg = (
                f"the parts of {paths[0].name} hold {held} particles of the six types, the header says "
                f"{list(header.numbers)}; a part is missing or belongs to another snapshot"
            )
            raise InputError(msg)
        opened.pop_all()
    name = paths[0].name
    mine = () if isinstance(source, h5py.File) else tuple(files)
    return Snapshot(header, name, _particles(header, parts, name), mine)


def _particles(header: Header, parts: Sequence[tuple[Mapping[str, Any], ...]], name: str) -> tuple[Particles, ...]:
    """Return the particles of every type."""
    return tuple(Particles(header.numbers[kind], kind, header, parts[kind], name) for kind in range(N_TYPES))


def _length(group: Mapping[str, Any]) -> int:
    """Return the number of particles in a group of a file."""
    return len(group["Coordinates"] if "Coordinates" in group else next(iter(group.values())))


def open_hdf5(path: Path) -> Any:
    """Return an open HDF5 file, or say what it is not.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    h5py.File
        Open for reading.
    """
    import h5py

    if not path.is_file():
        msg = f"there is no file {path}; give a snapshot in HDF5, or the folder of its parts"
        raise InputError(msg)
    try:
        return h5py.File(path, "r")
    except OSError as err:
        msg = (
            f"{path} is not a readable HDF5 file ({str(err)[:120]}); snapshots in other formats can be given as arrays"
        )
        raise InputError(msg) from None


def _header(file: Any, path: Path) -> Header:
    """Return the header of a file."""
    if "Header" not in file:
        there = ", ".join(list(file)[:6])
        msg = (
            f"{path.name} has no group Header (it has: {there}); a snapshot of GADGET or AREPO is wanted; "
            "arrays can be given with Snapshot.from_arrays"
        )
        raise InputError(msg)
    if not any(f"PartType{kind}" in file for kind in range(N_TYPES)) and "Group" in file:
        msg = f"{path.name} is a catalogue of groups; read it with read_groups, and give the snapshot here"
        raise InputError(msg)
    groups = [file.get(f"PartType{kind}") for kind in range(N_TYPES)]
    present = [0 if group is None or not len(group) else _length(group) for group in groups]
    parameters = dict(file["Parameters"].attrs) if "Parameters" in file else {}
    return read_header(dict(file["Header"].attrs), name=path.name, parameters=parameters, present=present)


_PART = re.compile(r"(.*)\.(\d+)\.(hdf5|h5)$")


def part_paths(source: Any) -> list[Path]:
    """Return the files of a snapshot in their order.

    Parameters
    ----------
    source : path or sequence of paths
        A file, one of several parts, their folder, or all parts.

    Returns
    -------
    list of Path
        The parts in the order of their numbers.
    """
    if not isinstance(source, (str, Path)):
        try:
            given = [Path(each) for each in source]
        except TypeError:
            msg = f"source is {source!r}; give a path, an open h5py.File or a list of paths"
            raise InputError(msg) from None
        if not given:
            msg = "source is an empty list; give a path, or the paths of all parts"
            raise InputError(msg)
        return sorted(given, key=_part_number)
    path = Path(source).expanduser()
    if path.is_dir():
        found = sorted((each for each in path.iterdir() if each.suffix in (".hdf5", ".h5")), key=_part_number)
        if not found:
            msg = f"the folder {path} holds no .hdf5 file; give a snapshot or the folder of its parts"
            raise InputError(msg)
        stems = {_stem(each) for each in found}
        if len(stems) > 1:
            msg = f"the folder {path} holds several snapshots ({', '.join(sorted(stems)[:5])}); give one of the files"
            raise InputError(msg)
        return found
    match = _PART.match(path.name)
    if match is None or not path.is_file():
        return [path]
    beside = [each for each in path.parent.iterdir() if (other := _PART.match(each.name)) and other[1] == match[1]]
    return sorted(beside, key=_part_number)


def _stem(path: Path) -> str:
    """Return the name of a snapshot without the number of its part."""
    match = _PART.match(path.name)
    return match[1] if match else path.stem


def _part_number(path: Path) -> int:
    """Return the number of a part in a file's name."""
    match = _PART.match(path.name)
    return int(match[2]) if match else 0


def with_header(snapshot: Snapshot, **changes: Any) -> Snapshot:
    """Return a snapshot whose header says something else, for files that leave it out.

    Parameters
    ----------
    snapshot : Snapshot
        The snapshot.
    **changes
        Entries of `Header`.

    Returns
    -------
    Snapshot
        With the same particles.
    """
    instance(snapshot, Snapshot, "snapshot", "from read_snapshot")
    check_header(changes, changes.get("box_size", snapshot.header.box_size))
    header = replace(snapshot.header, **changes)
    particles = tuple(replace(each, header=header) for each in snapshot.particles)
    return replace(snapshot, header=header, particles=particles)
