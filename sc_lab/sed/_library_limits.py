"""Where priors reach beyond a library: cut where nothing is known, said where models stay as they are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sc_lab.errors import InputError
from sc_lab.sed.priors import Fixed, Prior, Priors
from sc_lab.units import FloatArray

if TYPE_CHECKING:
    from sc_lab.sed.model import SedModel

__all__ = ["inside_library", "unchanging_metallicities"]

#: Share of a prior that deserves a word.
_SHARE = 0.01


def inside_library(priors: Priors, model: SedModel) -> tuple[Priors, tuple[str, ...]]:
    """Return priors whose log U lies where the library has gas, with what was cut in words.

    Parameters
    ----------
    priors : Priors
        The priors.
    model : SedModel
        With its library.

    Returns
    -------
    priors : Priors
        The same, or with another log U.
    said : tuple of str
        A sentence if a noticeable part was cut.

    Raises
    ------
    InputError
        If all of the prior of log U lies outside, or it is fixed there.

    Notes
    -----
    The models end there, so that draws beyond would have neither fluxes of their own nor a spectrum.
    """
    nodes = model.loaded_library.log_u
    if not (model.nebular and len(nodes)):
        return priors, ()
    prior, low, high = priors.log_u, float(nodes[0]), float(nodes[-1])
    if low <= prior.low and prior.high <= high:
        return priors, ()
    if isinstance(prior, Fixed) or prior.low >= high or prior.high <= low:
        msg = f"the prior of log_u is {prior}; the library has log U from {low:g} to {high:g}: move it there"
        raise InputError(msg)
    cut = replace(prior, low=max(prior.low, low), high=min(prior.high, high))
    # Tails of a normal density that hold next to nothing deserve no word.
    lost = 1.0 - float(prior.cdf(high) - prior.cdf(low))
    said = (f"the prior of log_u was cut at the ends of the library, {low:g} to {high:g}",) if lost > _SHARE else ()
    return replace(priors, log_u=cut), said


def unchanging_metallicities(prior: Prior, nodes: FloatArray) -> list[str]:
    """Return a sentence for each end of the library beyond which a prior of metallicity reaches.

    Parameters
    ----------
    prior : Uniform, LogUniform, Gaussian or Fixed
        Of metallicity.
    nodes : ndarray
        Metallicities of the library in units of 0.02.

    Returns
    -------
    list of str
        The sentences.
    """
    if isinstance(prior, Fixed):
        return []
    lowest, highest = float(nodes[0]), float(nodes[-1])
    shares = (
        (float(prior.cdf(lowest)), f"below the library's lowest, {lowest:g}"),
        (1.0 - float(prior.cdf(highest)), f"above its highest, {highest:g}"),
    )
    return [
        f"{100 * share:.0f} % of the prior of metallicity lies {where} solar, where models do not change"
        for share, where in shares
        if share > _SHARE
    ]
