"""From positions to a measured catalogue: fit, de-lens, and write in registry columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sc_lab.clumps.measured import Measured
from sc_lab.clumps.observation import Observation

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["measure"]


def measure(
    observation: Observation,
    clumps: QTable,
    *,
    previous: Measured | None = None,
    progress: Callable[[int, int], object] | None = None,
    cancel: Any = None,
) -> Measured:
    """Measure a list of clumps.

    Parameters
    ----------
    observation : Observation
        Images, galaxies, lens models and settings.
    clumps : QTable
        Columns id, ra, dec [deg, ICRS], and optionally galaxy and provenance.
    previous : Measured, optional
        An earlier measurement with the same observation: only clumps that the change of the list
        touches are fitted again, with the same numbers as from scratch.
    progress : callable, optional
        Called as ``progress(done, total)``.
    cancel : object, optional
        With ``is_set()``, such as `threading.Event`.

    Returns
    -------
    Measured
        Catalogue, fits and which clumps are new.
    """
    from sc_lab.clumps.assembling import assemble
    from sc_lab.photometry import fit_clumps

    n, end = len(clumps), [0]

    def images(done: int, total: int) -> None:
        """Tell of the images; the SEDs are the rest, one step a clump."""
        end[0] = total
        if progress is not None:
            progress(done, total + n)

    def seds(done: int, total: int) -> None:
        """Tell of the SEDs, whose number is known only now."""
        if progress is not None:
            progress(end[0] + (n * done // total if total else n), end[0] + n)

    fits = fit_clumps(
        observation.field,
        clumps,
        reference=observation.reference_band,
        mode=observation.mode,
        background=observation.background,
        bands=observation.bands,
        box=observation.box,
        centre=observation.centre,
        previous=None if previous is None else previous.fits,
        progress=images if observation.sed is not None else progress,
        cancel=cancel,
    )
    return assemble(observation, clumps, fits, previous=previous, progress=seds, cancel=cancel)
