"""The registry of catalogue columns: name, unit, kind, UCD, description and allowed range, each said once."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import astropy.units as u

from sc_lab.errors import InputError

__all__ = ["COLUMNS", "PATTERNS", "Column", "Kind", "column", "error_centre", "find_column"]

Kind: TypeAlias = Literal["number", "flag", "text"]


@dataclass(frozen=True, kw_only=True)
class Column:
    """What the laboratory knows of one catalogue column.

    Attributes
    ----------
    name : str
        Canonical name.
    description : str
        One line, written into every export.
    kind : {"number", "flag", "text"}
        Numbers are float64 and may be masked; a flag is True or False; text is Unicode.
    unit : str
        House unit as an astropy unit string; empty for pure numbers, flags and text.
    ucd : str
        IVOA unified content descriptor (UCD1+).
    low, high : float
        Allowed range in the house unit.
    low_inclusive, high_inclusive : bool
        Whether the ends of the range are themselves allowed.
    required : bool
        Whether a catalogue without the column is refused.
    computed : bool
        Whether the laboratory writes the column itself.
    draws : bool
        Whether each row holds an array of joint posterior draws.
    """

    name: str
    description: str
    kind: Kind = "number"
    unit: str = ""
    ucd: str = ""
    low: float = -math.inf
    high: float = math.inf
    low_inclusive: bool = True
    high_inclusive: bool = True
    required: bool = False
    computed: bool = False
    draws: bool = False

    @property
    def astropy_unit(self) -> u.UnitBase:
        """The house unit; dimensionless where there is none."""
        return u.Unit(self.unit) if self.unit else u.dimensionless_unscaled

    @property
    def range_text(self) -> str:
        """The allowed range in words, empty when every finite number is allowed."""
        unit = f" {self.unit}" if self.unit else ""
        parts = []
        if self.low > -math.inf:
            parts.append(f"{'at least' if self.low_inclusive else 'greater than'} {self.low:g}{unit}")
        if self.high < math.inf:
            parts.append(f"{'at most' if self.high_inclusive else 'less than'} {self.high:g}{unit}")
        return " and ".join(parts)


def _text(name: str, ucd: str, description: str, *, required: bool = False, computed: bool = False) -> Column:
    """Return a text column."""
    return Column(name=name, kind="text", ucd=ucd, description=description, required=required, computed=computed)


def _flag(name: str, description: str, *, computed: bool = False) -> Column:
    """Return a flag column."""
    return Column(name=name, kind="flag", ucd="meta.code", description=description, computed=computed)


def _positive(name: str, unit: str, ucd: str, description: str, *, computed: bool = False) -> Column:
    """Return a column of numbers that must exceed zero."""
    return Column(
        name=name, unit=unit, ucd=ucd, description=description, low=0.0, low_inclusive=False, computed=computed
    )


def _errors(centre: Column) -> tuple[Column, Column]:
    """Return the two columns of asymmetric errors of a column."""
    sides = (("lo", "min", "lower"), ("hi", "max", "upper"))
    ucd = centre.ucd.replace("arith.factor", "arith.ratio")  # a factor may not stand second in a UCD
    lower, upper = (
        Column(
            name=f"{centre.name}_err_{end}",
            unit=centre.unit,
            ucd=f"stat.error;{ucd};stat.{stat}",
            description=f"{word} 68% error of {centre.name}",
            low=0.0,
            computed=centre.computed,
        )
        for end, stat, word in sides
    )
    return lower, upper


def _error(centre: Column) -> Column:
    """Return the column of the symmetric error of a column."""
    return Column(
        name=f"{centre.name}_err",
        unit=centre.unit,
        ucd=f"stat.error;{centre.ucd}",
        description=f"68% error of {centre.name}",
        low=0.0,
    )


def _draws(centre: Column) -> Column:
    """Return the column of joint posterior draws of a column."""
    return replace(
        centre,
        name=f"{centre.name}_draws",
        ucd=centre.ucd,
        description=f"joint posterior draws of {centre.name}: draw j belongs together across all draws columns",
        draws=True,
    )


_Z = Column(name="z", ucd="src.redshift", description="observed redshift", low=0.0, high=1100.0, required=True)
_MU = _positive("mu", "", "arith.factor", "absolute magnification of the reference lens model")
_MU_T = _positive("mu_t", "", "arith.factor", "absolute tangential magnification of the reference lens model")
_R_EFF = _positive("r_eff", "pc", "phys.size.radius", "intrinsic effective radius; upper limit where r_eff_is_limit")
_R_EFF_OBS = _positive(
    "r_eff_obs", "mas", "phys.angSize", "observed effective radius, PSF removed; upper limit where r_eff_is_limit"
)
_MASS = _positive("mass", "solMass", "phys.mass", "intrinsic stellar mass, already divided by mu")
_AGE_ONSET = _positive("age_onset", "Myr", "time.age", "time since star formation started")
_AGE_MW = _positive("age_mw", "Myr", "time.age", "mass-weighted age")
_SFR = Column(
    name="sfr",
    unit="solMass / yr",
    ucd="phys.SFR",
    description="intrinsic star-formation rate, averaged over the last 10 Myr",
    low=0.0,
)
_A_V = Column(name="a_v", unit="mag", ucd="phys.absorption;em.opt.V", description="V-band dust attenuation", low=0.0)
_METALLICITY = Column(
    name="metallicity", ucd="phys.abund.Z", description="absolute metallicity Z (solar is 0.02)", low=0.0, high=1.0
)
_SED_CHI2 = Column(
    name="sed_chi2", ucd="stat.fit.chi2", description="chi-squared of the best model of the SED fit", low=0.0
)
#: Magnitudes of 99 and -99 mean "none" in many catalogues; a range that leaves them out makes them errors.
_MAG_RANGE = 60.0
_ABS_MAG_V = Column(
    name="abs_mag_v",
    unit="mag",
    ucd="phys.magAbs;em.opt.V",
    description="intrinsic absolute V magnitude (AB)",
    low=-_MAG_RANGE,
    high=_MAG_RANGE,
)
_SIGMA_MASS = _positive(
    "sigma_mass",
    "solMass / pc2",
    "phys.density;phys.mass",
    "stellar mass surface density; lower limit where sigma_mass_is_limit",
    computed=True,
)
_DYNAMICAL_AGE = _positive(
    "dynamical_age", "", "time.age;arith.ratio", "age over crossing time; above 1 the object is bound", computed=True
)
_Z_FORM = Column(
    name="z_form",
    ucd="src.redshift;time.creation",
    description="formation redshift; masked where the age exceeds that of the Universe",
    low=0.0,
    computed=True,
)


def _fraction(name: str, description: str) -> Column:
    """Return a computed column of numbers between 0 and 1."""
    return Column(name=name, ucd="stat.probability", description=description, low=0.0, high=1.0, computed=True)


_ALL: tuple[Column, ...] = (
    _text("id", "meta.id;meta.main", "unique identifier of the clump image", required=True),
    _text("field", "meta.id;obs.field", "name of the field or cluster of galaxies"),
    _text("system", "meta.id.assoc", "identifier shared by the multiple images of one source"),
    _text("image", "meta.id.part", "identifier of the lensed image that holds the clump"),
    _text("galaxy", "meta.id.parent", "name of the galaxy whose contour holds the clump"),
    Column(name="ra", unit="deg", ucd="pos.eq.ra;meta.main", description="right ascension (ICRS)", low=0.0, high=360.0),
    Column(name="dec", unit="deg", ucd="pos.eq.dec;meta.main", description="declination (ICRS)", low=-90.0, high=90.0),
    Column(
        name="ra_start",
        unit="deg",
        ucd="pos.eq.ra",
        description="right ascension given to the fit",
        low=0.0,
        high=360.0,
    ),
    Column(
        name="dec_start", unit="deg", ucd="pos.eq.dec", description="declination given to the fit", low=-90.0, high=90.0
    ),
    _text("provenance", "meta.note", "where the position comes from: auto, added, moved, split or merged"),
    _Z,
    _MU,
    *_errors(_MU),
    _MU_T,
    *_errors(_MU_T),
    _R_EFF,
    *_errors(_R_EFF),
    _flag("r_eff_is_limit", "r_eff is an upper limit"),
    _text("size_class", "meta.code.class", "resolved, one_axis or unresolved in the reference band"),
    _R_EFF_OBS,
    _error(_R_EFF_OBS),
    _MASS,
    *_errors(_MASS),
    _flag("mass_is_provisional", "mass and age are not fitted: the mass is that of the light at an assumed age"),
    _AGE_ONSET,
    *_errors(_AGE_ONSET),
    _AGE_MW,
    *_errors(_AGE_MW),
    _SFR,
    *_errors(_SFR),
    _A_V,
    *_errors(_A_V),
    _METALLICITY,
    *_errors(_METALLICITY),
    _ABS_MAG_V,
    _error(_ABS_MAG_V),
    _SED_CHI2,
    Column(name="sed_n_bands", ucd="meta.number", description="bands with a flux in the SED fit", low=0.0),
    Column(
        name="sed_ess",
        ucd="meta.number",
        description="effective number of independent posterior draws behind the SED fit",
        low=0.0,
    ),
    _text("sed_library", "meta.id;meta.modelled", "stellar library of the SED fit; empty where there is none"),
    _text("sed_settings", "meta.id;meta.modelled", "key of the settings of the SED fit in the provenance"),
    _text("sed_flags", "meta.code.qual", "what the SED fit points out, by name"),
    Column(name="snr", ucd="stat.snr", description="signal-to-noise ratio of the matched filter in the reference band"),
    Column(
        name="flux_shape_err",
        ucd="stat.error;phot.flux",
        description="fraction of every flux that the error of the common shape adds to its error",
        low=0.0,
    ),
    _text("photometry_flags", "meta.code.qual", "what the fit of the images points out, by name"),
    _text("lens_flags", "meta.code.qual", "what the lens models point out, by name"),
    *(_draws(centre) for centre in (_MASS, _AGE_ONSET, _R_EFF, _SFR, _A_V)),
    _SIGMA_MASS,
    *_errors(_SIGMA_MASS),
    _flag("sigma_mass_is_limit", "sigma_mass is a lower limit", computed=True),
    _DYNAMICAL_AGE,
    *_errors(_DYNAMICAL_AGE),
    _Z_FORM,
    *_errors(_Z_FORM),
    _fraction("z_form_undefined", "fraction of draws whose age exceeds that of the Universe"),
    _fraction("gc_probability", "probability that the colours lie in the globular-cluster box"),
    _flag("gc_contaminant", "the colours lie in the globular-cluster box", computed=True),
    _flag("candidate", "star-cluster candidate: r_eff or its limit is below the size threshold", computed=True),
    _flag("in_cmf_sample", "used in the cluster mass function", computed=True),
    _flag("excluded", "left out by hand", computed=True),
    _text("exclusion_reason", "meta.note", "why the object was left out by hand", computed=True),
    _text("note", "meta.note", "remark of the user", computed=True),
)

#: Every column with a fixed name, in the order of an export.
COLUMNS: dict[str, Column] = {each.name: each for each in _ALL}

#: Families of columns, for documentation and error messages.
PATTERNS: dict[str, str] = {
    "mag_<filter>": "observed AB magnitude, e.g. mag_f150w; also mag_<filter>_err and mag_<filter>_is_limit",
    "flux_<filter>": "observed flux density, negative where noise makes it so, e.g. flux_f150w; also flux_<filter>_err",
    "abs_mag_<filter>": "intrinsic absolute AB magnitude, e.g. abs_mag_f150w; also abs_mag_<filter>_err",
    "mu_<model>": "absolute magnification of a further lens model, e.g. mu_m2; also mu_<model>_err_lo and _err_hi",
    "mu_t_<model>": "tangential magnification of a further lens model; also mu_t_<model>_err_lo and _err_hi",
    "<property>_tau<Myr>": "a property of the SED fit, such as mass, age_onset or sfr, for a second e-folding time of the "
    "star formation, e.g. mass_tau10; also its errors",
}

_MAG = re.compile(r"(abs_)?mag_([a-z0-9]+)(_err|_is_limit)?")
_FLUX = re.compile(r"flux_(?!shape$|err$)([a-z0-9]+)(_err)?")
_MODEL = re.compile(r"mu(_t)?_(?!t$|t_|err$|err_)([a-z0-9]+)(?:_err_(lo|hi))?")
#: What an SED fit says for a second star-formation history; 2p5 stands for 2.5 Myr.
_TAU = re.compile(
    r"(mass|age_onset|age_mw|sfr|a_v|metallicity|abs_mag_v|sed_chi2)_tau(\d+(?:p\d+)?)(_err(?:_lo|_hi)?)?"
)
_ERROR = re.compile(r"(.+)_err(?:_(lo|hi))?")


def find_column(name: str) -> Column | None:
    """Return the registry entry of a name, or None for a foreign column.

    Parameters
    ----------
    name : str
        A fixed name of `COLUMNS` or a member of one of the `PATTERNS`.

    Returns
    -------
    Column or None
        The entry.
    """
    if name in COLUMNS:
        return COLUMNS[name]
    found = _MAG.fullmatch(name)
    if found:
        return _magnitude(absolute=bool(found[1]), band=found[2], part=found[3] or "")
    found = _FLUX.fullmatch(name)
    if found:
        flux = Column(
            name=f"flux_{found[1]}",
            unit="nJy",
            ucd="phot.flux.density",
            description=f"observed {found[1].upper()} flux density",
        )
        return _error(flux) if found[2] else flux
    found = _MODEL.fullmatch(name)
    if found:
        kind = "tangential magnification" if found[1] else "magnification"
        centre = _positive(
            f"mu{found[1] or ''}_{found[2]}", "", "arith.factor", f"absolute {kind} of lens model {found[2]}"
        )
        lower, upper = _errors(centre)
        return {None: centre, "lo": lower, "hi": upper}[found[3]]
    found = _TAU.fullmatch(name)
    if found:
        base = COLUMNS.get(f"{found[1]}{found[3] or ''}")
        myr = found[2].replace("p", ".")
        return base and replace(base, name=name, description=f"{base.description}, for tau = {myr} Myr")
    return None


def _magnitude(*, absolute: bool, band: str, part: str) -> Column | None:
    """Return the column of a magnitude, of its error or of its limit flag."""
    name = f"{'abs_' if absolute else ''}mag_{band}"
    centre = Column(
        name=name,
        unit="mag",
        ucd="phys.magAbs" if absolute else "phot.mag",
        description=f"{'intrinsic absolute' if absolute else 'observed'} {band.upper()} magnitude (AB)",
        low=-_MAG_RANGE,
        high=_MAG_RANGE,
    )
    if part == "_err":
        return _error(centre)
    if part == "_is_limit":
        # A magnitude limit is a limit on the observed flux; an absolute one would also need the lens model.
        return None if absolute else _flag(f"{name}_is_limit", f"{name} is a faint limit: the source is fainter")
    return centre


def column(name: str) -> Column:
    """Return the registry entry of a name.

    Parameters
    ----------
    name : str
        A fixed name of `COLUMNS` or a member of one of the `PATTERNS`.

    Returns
    -------
    Column
        The entry.

    Raises
    ------
    InputError
        If the registry has no such column.

    Examples
    --------
    >>> column("mag_f150w").unit
    'mag'
    """
    found = find_column(name)
    if found is None:
        msg = (
            f"there is no catalogue column named {name!r}; the columns are {', '.join(COLUMNS)} "
            f"and the families {', '.join(PATTERNS)}"
        )
        raise InputError(msg)
    return found


def error_centre(name: str) -> tuple[str, str] | None:
    """Return the column that an error column belongs to, and its side.

    Parameters
    ----------
    name : str
        Canonical name, e.g. ``"mass_err_lo"``.

    Returns
    -------
    tuple of (str, str) or None
        ``("mass", "lo")``; the side is empty for a symmetric error. None when ``name``
        is not the name of an error.
    """
    found = _ERROR.fullmatch(name)
    if found is None or find_column(name) is None:
        return None
    return found[1], found[2] or ""
