"""The header of a snapshot: box, time, cosmology, particle numbers and units, with what old files leave out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sc_lab.errors import InputError

if TYPE_CHECKING:
    from astropy.cosmology import FLRW

__all__ = ["N_TYPES", "Header", "read_header"]

#: Particle types of GADGET and AREPO: gas, dark matter, two of old or boundary particles, stars, black holes.
N_TYPES = 6
#: Units of files that do not say theirs: kpc, 1e10 solar masses, km/s, as GADGET has them.
_UNITS = {"UnitLength_in_cm": 3.085678e21, "UnitMass_in_g": 1.989e43, "UnitVelocity_in_cm_per_s": 1e5}


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a snapshot says of itself.

    Attributes
    ----------
    box_size : float
        Side of the periodic box in code units; 0 where there is none.
    time : float
        Scale factor in a cosmological run, else time in code units.
    redshift : float
        Redshift; 0 in a run without expansion.
    h : float
        Hubble constant over 100 km/s/Mpc.
    omega_matter, omega_lambda, omega_baryon : float
        Densities today over the critical one; NaN for baryons that the file leaves out.
    numbers : tuple of int
        Particles of each of the six types in the whole snapshot.
    mass_table : tuple of float
        Mass of each particle of a type in code units; 0 where particles have masses of their own.
    length_cm, mass_g, velocity_cm_s : float
        Units of the code in cgs, without factors of h and of the scale factor.
    comoving : bool
        Whether lengths are comoving and times scale factors.
    cautions : tuple of str
        What was odd, and how it was read.
    """

    box_size: float
    time: float
    redshift: float
    h: float
    omega_matter: float
    omega_lambda: float
    omega_baryon: float
    numbers: tuple[int, ...]
    mass_table: tuple[float, ...]
    length_cm: float = _UNITS["UnitLength_in_cm"]
    mass_g: float = _UNITS["UnitMass_in_g"]
    velocity_cm_s: float = _UNITS["UnitVelocity_in_cm_per_s"]
    comoving: bool = True
    cautions: tuple[str, ...] = field(default=())

    @property
    def a(self) -> float:
        """Scale factor; 1 in a run without expansion."""
        return self.time if self.comoving else 1.0

    @property
    def cosmology(self) -> FLRW:
        """The flat or curved cosmology of the run, without radiation, as the simulation codes have it."""
        from astropy.cosmology import LambdaCDM

        if not self.comoving or not self.omega_matter > 0:
            msg = "the snapshot is not of a cosmological run, so it has no cosmology"
            raise InputError(msg)
        return LambdaCDM(H0=100.0 * self.h, Om0=self.omega_matter, Ode0=self.omega_lambda, Tcmb0=0.0)


def read_header(
    attributes: Mapping[str, Any], *, name: str, parameters: Mapping[str, Any] | None = None, present: Any = None
) -> Header:
    """Return the header of a snapshot file.

    Parameters
    ----------
    attributes : mapping
        Attributes of the group ``Header``.
    name : str
        Name of the file, for messages.
    parameters : mapping, optional
        Attributes of the group ``Parameters``: whether the run expands, and units that the header leaves out.
    present : sequence of int, optional
        Particles of each type that the file itself holds, where that is known.

    Returns
    -------
    Header
        The header.

    Raises
    ------
    InputError
        If box, time or particle numbers are missing, or the time is no scale factor in a run that says it expands.

    Notes
    -----
    Some codes write the densities of a cosmology also where nothing expands. Where the file does not say whether it does,
    a scale factor that does not go with the redshift tells.
    """
    parameters = parameters or {}
    cautions: list[str] = []
    missing = [key for key in ("BoxSize", "Time") if key not in attributes]
    if missing or not {"NumPart_Total", "NumPart_ThisFile"} & set(attributes):
        what = ", ".join([*missing, *([] if missing else ["NumPart_Total"])])
        msg = f"the header of {name} has no {what}; a snapshot in the HDF5 format of GADGET or AREPO is wanted"
        raise InputError(msg)
    total = _numbers(attributes, "NumPart_Total", "NumPart_ThisFile")
    total = total + _numbers(attributes, "NumPart_Total_HighWord") * 2**32
    comoving = bool(_one(parameters, "ComovingIntegrationOn", 1.0)) and _one(attributes, "Omega0", 0.0) > 0
    time = _one(attributes, "Time", 1.0)
    redshift = _one(attributes, "Redshift", np.nan)
    if comoving and "ComovingIntegrationOn" not in parameters:
        # To the digits with which redshifts are written.
        comoving = time > 0 and not abs(time * (1.0 + redshift) - 1.0) > 0.01
        if not comoving:
            cautions.append(f"Time is {time:g} and Redshift {redshift:g}, which is no scale factor and its redshift")
    if comoving and not time > 0:
        msg = f"the header of {name} has the time {time:g}; in a run that expands it is the scale factor, above 0"
        raise InputError(msg)
    if not comoving:
        cautions.append("the run is not cosmological: lengths and velocities are taken without the scale factor")
    n_files = int(_one(attributes, "NumFilesPerSnapshot", 1))
    if present is not None and n_files == 1 and not np.array_equal(total, present):
        claimed, held = total.tolist(), np.asarray(present).tolist()
        cautions.append(f"the header claims {claimed} particles of the six types, the file holds {held}: read as held")
        total = np.asarray(present, dtype=np.int64)
    units = {}
    for key, usual in _UNITS.items():
        units[key] = _one(attributes, key, _one(parameters, key, 0.0)) or usual
        if not (_one(attributes, key, 0.0) or _one(parameters, key, 0.0)):
            cautions.append(f"the header has no {key}: {usual:g} is taken")
    h = _one(attributes, "HubbleParam", 0.0)
    if not h > 0:
        cautions.append("the header has no HubbleParam: 1 is taken, so lengths and masses carry no h")
        h = 1.0
    return Header(
        box_size=_one(attributes, "BoxSize", 0.0),
        time=time,
        redshift=(redshift if np.isfinite(redshift) else 1.0 / time - 1.0) if comoving else 0.0,
        h=h,
        omega_matter=_one(attributes, "Omega0", np.nan),
        omega_lambda=_one(attributes, "OmegaLambda", np.nan),
        omega_baryon=_one(attributes, "OmegaBaryon", _one(parameters, "OmegaBaryon", np.nan)),
        numbers=tuple(total.tolist()),
        mass_table=tuple(_six(attributes.get("MassTable", np.zeros(N_TYPES))).tolist()),
        length_cm=units["UnitLength_in_cm"],
        mass_g=units["UnitMass_in_g"],
        velocity_cm_s=units["UnitVelocity_in_cm_per_s"],
        comoving=comoving,
        cautions=tuple(cautions),
    )


def _one(attributes: Mapping[str, Any], key: str, otherwise: float) -> float:
    """Return an attribute as a number; some writers keep it in an array of one."""
    if key not in attributes:
        return otherwise
    return float(np.asarray(attributes[key]).ravel()[0])


def _numbers(attributes: Mapping[str, Any], *keys: str) -> npt.NDArray[np.int64]:
    """Return particle numbers by type from the first attribute that is there, as 64-bit integers."""
    for key in keys:
        if key in attributes:
            return np.asarray(_six(attributes[key]), dtype=np.int64)
    return np.zeros(N_TYPES, dtype=np.int64)


def _six(values: Any) -> npt.NDArray[Any]:
    """Return six values, zeros for types that a file does not know."""
    given = np.asarray(values).ravel()[:N_TYPES]
    return np.concatenate([given, np.zeros(N_TYPES - len(given), dtype=given.dtype)])
