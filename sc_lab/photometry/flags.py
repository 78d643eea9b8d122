"""What a fit can report: status codes of the engine and readable bits of a measured clump."""

from __future__ import annotations

from enum import IntEnum, IntFlag

__all__ = ["FitStatus", "PhotometryFlag", "describe_flags"]


class FitStatus(IntEnum):
    """How one fit ended."""

    CONVERGED = 0
    ITERATION_CAP = 1
    TOO_FEW_PIXELS = 2
    STALLED = 3


class PhotometryFlag(IntFlag):
    """Bits of the column ``flags``; 0 is a clump with nothing to say about it."""

    NONE = 0
    EDGE = 1
    BAD_PIXELS = 2
    BAD_CORE = 4
    NO_DATA = 8
    NOT_CONVERGED = 16
    CENTRE_BOUND = 32
    SIZE_BOUND = 64
    NOT_POSITIVE = 128
    MERGED = 256
    SWAPPED = 512
    CHAIN_CUT = 1024
    FALLBACK_BAND = 2048
    BAND_MISSING = 4096
    PSF_SMALL = 8192
    NO_ERRORS = 16384
    NEIGHBOUR = 32768
    POOR_FIT = 65536


_SENTENCES = {
    PhotometryFlag.EDGE: "the box reaches over the edge of the image",
    PhotometryFlag.BAD_PIXELS: "pixels without data or with an unusable error were left out",
    PhotometryFlag.BAD_CORE: "pixels at the centre are unusable (saturated or masked)",
    PhotometryFlag.NO_DATA: "too few usable pixels for a fit",
    PhotometryFlag.NOT_CONVERGED: "the fit did not converge",
    PhotometryFlag.CENTRE_BOUND: "the centre stopped at its bound",
    PhotometryFlag.SIZE_BOUND: "the size stopped at its bound",
    PhotometryFlag.NOT_POSITIVE: "the flux is not positive in the band that gives the size",
    PhotometryFlag.MERGED: "two clumps ran into each other and were fitted as one",
    PhotometryFlag.SWAPPED: "two clumps changed places in the fit",
    PhotometryFlag.CHAIN_CUT: "a chain of close clumps was cut; those beyond the cut were held fixed",
    PhotometryFlag.FALLBACK_BAND: "the size comes from another band",
    PhotometryFlag.BAND_MISSING: "at least one band has no flux here",
    PhotometryFlag.PSF_SMALL: "the PSF stamp is smaller than the box, so its wings are missing from the model",
    PhotometryFlag.NO_ERRORS: "the error of a parameter could not be computed",
    PhotometryFlag.NEIGHBOUR: "light of other clumps in the box was fitted along",
    PhotometryFlag.POOR_FIT: (
        "the model does not describe the pixels (chi^2 far above its expectation): a clump too close to be told apart, or a "
        "curved host under a plane, with which errors are too small"
    ),
}


def describe_flags(flags: int) -> str:
    """Return the sentences of a flag value.

    Parameters
    ----------
    flags : int
        A value of the column ``flags``.

    Returns
    -------
    str
        The sentences, separated by semicolons; "" for 0.
    """
    return "; ".join(_SENTENCES[bit] for bit in PhotometryFlag if bit and flags & bit)
