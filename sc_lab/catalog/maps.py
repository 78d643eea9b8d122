"""Column maps: how a foreign table's names, units, logarithms and limit conventions become canonical columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import astropy.units as u

from sc_lab.catalog.columns import COLUMNS, PATTERNS, find_column
from sc_lab.errors import InputError

__all__ = ["BUILTIN_MAPS", "CALZETTI_R_V", "ColumnMap", "Source", "as_column_map", "matching_maps"]

#: R_V of the starburst attenuation law: A_V = 4.05 E(B-V) (Calzetti et al. 2000, equation 4 and section 4).
CALZETTI_R_V = 4.05


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where one canonical column comes from.

    Attributes
    ----------
    column : str
        Name of the foreign column.
    unit : str
        Its unit, for files that have none. A unit in the file wins.
    log : bool
        The column is a decimal logarithm. A ``dex(...)`` unit in the file says the same. Errors of
        such a column are taken to be in dex and become linear: 10**x - 10**(x - e) and 10**(x + e) - 10**x.
    scale : float
        Factor applied to the (linear) values.
    compose : str
        Template of a text column, e.g. ``"{image_id} {clump_id}"``. ``{name:before .}`` keeps what
        stands before the first full stop of the value.
    constant : str or float or None
        One value for all rows.
    missing : tuple of float
        Numbers that mean "not measured", e.g. ``(-99.0, 99.0)``.
    negative : {"", "missing", "limit"}
        What a negative number means: not measured ("missing": for an error column whose
        sign marks limits), or, for a flag, that the row is a limit ("limit").
    """

    column: str = ""
    unit: str = ""
    log: bool = False
    scale: float = 1.0
    compose: str = ""
    constant: str | float | None = None
    missing: tuple[float, ...] = ()
    negative: str = ""

    def __post_init__(self) -> None:
        """Check that exactly one origin is given."""
        origins = [bool(self.column), bool(self.compose), self.constant is not None]
        if sum(origins) != 1:
            msg = f"a column source needs exactly one of column, compose and constant, but this has {sum(origins)}: {self}"
            raise InputError(msg)
        if self.negative not in ("", "missing", "limit"):
            msg = f"negative is {self.negative!r}; the conventions are 'missing', 'limit' and '' (none)"
            raise InputError(msg)
        try:
            u.Unit(self.unit)
        except (TypeError, ValueError):
            msg = f"the unit {self.unit!r} of a column source is not one of astropy's; write it as in 'solMass' or 'km / s'"
            raise InputError(msg) from None


Spec: TypeAlias = str | Source


@dataclass(frozen=True, kw_only=True)
class ColumnMap:
    """A translation of a foreign table into canonical columns.

    Attributes
    ----------
    columns : mapping of str to Source or str
        Canonical name to its source; a bare string is the name of the foreign column.
    name : str
        Name of the map, written into the catalogue's metadata.
    signature : frozenset of str
        Foreign column names whose presence identifies the table; empty for a map that is never guessed.
    citation : str
        The paper to cite.
    notes : tuple of str
        Choices that a user of the table should know.
    """

    columns: Mapping[str, Spec]
    name: str = ""
    signature: frozenset[str] = field(default_factory=frozenset)
    citation: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the canonical names and make every spec a `Source`."""
        unknown = [name for name in self.columns if find_column(name) is None]
        if unknown:
            msg = (
                f"the column map {self.name or '(unnamed)'} has unknown canonical names {', '.join(map(repr, unknown))}; "
                f"the columns are {', '.join(COLUMNS)} and the families {', '.join(PATTERNS)}"
            )
            raise InputError(msg)
        bad = [name for name, spec in self.columns.items() if not isinstance(spec, str | Source)]
        if bad:
            msg = f"the sources of {', '.join(bad)} are neither text nor Source; give the foreign name or a Source(...)"
            raise InputError(msg)
        full = {name: Source(column=spec) if isinstance(spec, str) else spec for name, spec in self.columns.items()}
        for name, each in full.items():
            _check_kind(name, each)
        object.__setattr__(self, "columns", full)

    @property
    def sources(self) -> dict[str, Source]:
        """Canonical name to `Source`."""
        return {name: spec for name, spec in self.columns.items() if isinstance(spec, Source)}


def _check_kind(name: str, source: Source) -> None:
    """Refuse text as the origin of numbers."""
    entry = find_column(name)
    if entry is None or entry.kind == "text":
        return
    if source.compose or isinstance(source.constant, str):
        msg = f"{name} is a {entry.kind}, so its source cannot be text; give a foreign column or a number as constant"
        raise InputError(msg)


def as_column_map(columns: ColumnMap | Mapping[str, Spec] | str) -> ColumnMap:
    """Return a column map from what a user may give.

    Parameters
    ----------
    columns : ColumnMap, mapping or str
        A map, a mapping of canonical to foreign names, or the name of a built-in map.

    Returns
    -------
    ColumnMap
        The map.

    Raises
    ------
    InputError
        If a name is unknown or the argument is something else.
    """
    if isinstance(columns, ColumnMap):
        return columns
    if isinstance(columns, str):
        if columns not in BUILTIN_MAPS:
            msg = f"there is no built-in column map named {columns!r}; the built-in maps are {', '.join(BUILTIN_MAPS)}"
            raise InputError(msg)
        return BUILTIN_MAPS[columns]
    if isinstance(columns, Mapping):
        return ColumnMap(columns=columns)
    msg = (
        f"columns is a {type(columns).__name__}; give a ColumnMap, the name of a built-in map, "
        "or a dict of canonical to foreign names such as {'id': 'NAME', 'z': 'zspec'}"
    )
    raise InputError(msg)


def matching_maps(names: list[str]) -> list[ColumnMap]:
    """Return the built-in maps whose signature a table has.

    Parameters
    ----------
    names : list of str
        Column names of the table.

    Returns
    -------
    list of ColumnMap
        The maps, in the order of `BUILTIN_MAPS`.
    """
    present = set(names)
    return [each for each in BUILTIN_MAPS.values() if each.signature and each.signature <= present]


_CLAEYSSENS_2023 = ColumnMap(
    name="claeyssens2023",
    citation="Claeyssens et al. 2023, MNRAS 520, 2180, table A2",
    signature=frozenset({"image_id", "clump_id", "m_abs_f150w", "log_mass", "age", "ebv"}),
    columns={
        "id": Source(compose="{image_id} {clump_id}"),
        "field": Source(constant="SMACS0723"),
        "system": Source(compose="{image_id:before .} {clump_id:before .}"),
        "image": "image_id",
        "ra": "ra",
        "dec": "dec",
        "z": "z",
        "mu": "mu",
        "mu_err_lo": "mu_err_lo",
        "mu_err_hi": "mu_err_hi",
        "r_eff": "r_eff",
        "r_eff_err_lo": "r_eff_err_lo",
        "r_eff_err_hi": "r_eff_err_hi",
        "r_eff_is_limit": "r_eff_is_limit",
        "mass": Source(column="log_mass", log=True, unit="solMass"),
        "mass_err_lo": "log_mass_err_lo",
        "mass_err_hi": "log_mass_err_hi",
        "age_onset": Source(column="age", unit="Myr"),
        "age_onset_err_lo": Source(column="age_err_lo", unit="Myr"),
        "age_onset_err_hi": Source(column="age_err_hi", unit="Myr"),
        "a_v": Source(column="ebv", unit="mag", scale=CALZETTI_R_V),
        "a_v_err_lo": Source(column="ebv_err_lo", unit="mag", scale=CALZETTI_R_V),
        "a_v_err_hi": Source(column="ebv_err_hi", unit="mag", scale=CALZETTI_R_V),
        "metallicity": "metallicity",
        "abs_mag_f150w": Source(column="m_abs_f150w", unit="mag"),
        "abs_mag_f150w_err": Source(column="m_abs_f150w_err", unit="mag"),
    },
    notes=(
        "system joins the multiple images of one clump: S1.1 C3.1 and S1.2 C3.1 are both S1 C3",
        f"a_v is {CALZETTI_R_V} times the published E(B-V) (Calzetti et al. 2000)",
        "age is read as age_onset; the paper's star-formation histories are short",
        "the magnitude, headed F150W [AB] in the paper, is absolute and de-lensed",
        "one radius, of S5.2 C1.1, is published as an upper limit of 0 pc: it stays masked, and a limit",
    ),
)

_ADAMO_2024 = ColumnMap(
    name="adamo2024",
    citation="Adamo et al. 2024, Nature 632, 513; redshift from Messa et al. 2025 (arXiv:2507.18705)",
    signature=frozenset({"row", "r_eff_forward_model", "r_eff_is_limit", "mass", "sigma"}),
    columns={
        "id": Source(compose="Cosmic Gems {row}"),
        "field": Source(constant="SPT0615"),
        "z": "z",
        "r_eff": Source(column="r_eff", unit="pc"),
        "r_eff_err_lo": Source(column="r_eff_err_lo", unit="pc"),
        "r_eff_err_hi": Source(column="r_eff_err_hi", unit="pc"),
        "r_eff_is_limit": "r_eff_is_limit",
        "mass": Source(column="mass", unit="solMass"),
        "mass_err_lo": Source(column="mass_err_lo", unit="solMass"),
        "mass_err_hi": Source(column="mass_err_hi", unit="solMass"),
    },
    notes=(
        "r_eff, not r_eff_forward_model, is the radius: it has asymmetric errors and its limits are flagged",
        "the forward-model radius stays beside it under its own name",
        "eight measurements of five clusters (two mirror images); which rows pair up is not published, so there is no system",
        "no age and no magnification per cluster",
        "the published sigma is 0.5-0.7 times mass / (2 pi r_eff^2) and is kept under its own name, not used",
    ),
)

_MOWLA_2024 = ColumnMap(
    name="mowla2024",
    citation="Mowla et al. 2024, Nature 636, 332",
    signature=frozenset({"row", "r50", "r50_is_limit", "log_mass"}),
    columns={
        "id": Source(compose="Firefly Sparkle {row}"),
        "field": Source(constant="MACSJ1423"),
        "z": "z",
        "r_eff": Source(column="r50", unit="pc"),
        "r_eff_err_lo": Source(column="r50_err_lo", unit="pc"),
        "r_eff_err_hi": Source(column="r50_err_hi", unit="pc"),
        "r_eff_is_limit": "r50_is_limit",
        "mass": Source(column="log_mass", log=True, unit="solMass"),
        "mass_err_lo": "log_mass_err_lo",
        "mass_err_hi": "log_mass_err_hi",
    },
    notes=(
        "the clusters are unresolved: every radius is an upper limit",
        "no age, no magnification and no photometry per cluster",
    ),
)

_CANUCS_2022 = ColumnMap(
    name="canucs2022",
    citation="Mowla et al. 2022, ApJL 937, L35 (host redshift); positions from the CANUCS-Sparkles region file",
    signature=frozenset({"row", "ra", "dec", "x_cutout", "y_cutout", "value_at_position"}),
    columns={
        "id": Source(compose="Sparkler {row}"),
        "field": Source(constant="SMACS0723"),
        "ra": Source(column="ra", unit="deg"),
        "dec": Source(column="dec", unit="deg"),
        "z": Source(constant=1.378),
    },
    notes=("positions only; z is that of the host galaxy, and not every source is a confirmed cluster",),
)

#: The published tables that open without a word about their columns.
BUILTIN_MAPS: dict[str, ColumnMap] = {
    each.name: each for each in (_CLAEYSSENS_2023, _ADAMO_2024, _MOWLA_2024, _CANUCS_2022)
}
