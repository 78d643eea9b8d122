"""The quantities that the population plots show: label, unit, scale, in one registry."""

from __future__ import annotations

from dataclasses import dataclass

from sc_lab.errors import InputError

__all__ = ["QUANTITIES", "Quantity", "quantity"]


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One quantity of a clump as the plots and hover texts name it.

    Attributes
    ----------
    name : str
        The name used in calls, and of the catalogue column where there is one.
    label : str
        What an axis says.
    unit : str
        Unit as an axis says it; empty for a pure number.
    log : bool
        Whether plots use its decimal logarithm.
    """

    name: str
    label: str
    unit: str = ""
    log: bool = True

    @property
    def title(self) -> str:
        """Label and unit, as on an axis."""
        return f"{self.label} [{self.unit}]" if self.unit else self.label


#: Claeyssens et al. 2026, figures 3 and 5 to 7.
QUANTITIES: dict[str, Quantity] = {
    each.name: each
    for each in (
        Quantity(name="z", label="redshift", log=False),
        Quantity(name="mass", label="stellar mass", unit="M☉"),
        Quantity(name="sigma_mass", label="mass surface density", unit="M☉ pc⁻²"),
        Quantity(name="sfr", label="star-formation rate", unit="M☉ yr⁻¹"),
        Quantity(name="sigma_sfr", label="SFR surface density", unit="M☉ yr⁻¹ kpc⁻²"),
        Quantity(name="r_eff", label="effective radius", unit="pc"),
        Quantity(name="age_onset", label="age", unit="Myr"),
        Quantity(name="mu", label="magnification"),
        Quantity(name="abs_mag_v", label="absolute V magnitude", unit="AB mag", log=False),
        Quantity(name="dynamical_age", label="dynamical age Π"),
        Quantity(name="z_form", label="formation redshift", log=False),
    )
}


def quantity(name: str) -> Quantity:
    """Return the registry entry of a quantity.

    Parameters
    ----------
    name : str
        A key of `QUANTITIES`.

    Returns
    -------
    Quantity
        The entry.

    Raises
    ------
    InputError
        If there is no such quantity.
    """
    try:
        return QUANTITIES[name]
    except KeyError:
        msg = f"there is no quantity named {name!r}; the quantities are {', '.join(QUANTITIES)}"
        raise InputError(msg) from None
