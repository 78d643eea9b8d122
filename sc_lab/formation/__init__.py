"""Formation redshifts of star clusters from their ages."""

from sc_lab.formation.redshift import formation_redshift, formation_time, undefined_fraction

__all__ = ["formation_redshift", "formation_time", "undefined_fraction"]
