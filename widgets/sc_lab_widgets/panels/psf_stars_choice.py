"""Which stars make the PSF: proposals, what was changed by hand, and the way back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sc_lab.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from astropy.table import QTable

    from sc_lab.images import Band

__all__ = ["Star", "StarList", "centred"]

#: A position with these decimals [deg] is exact to 0.04 mas, and the printed call stays readable.
_DECIMALS = 8
#: A click may miss the peak of its star by this much [px].
_MISS = 5

Place = tuple[float, float]


@dataclass(frozen=True)
class Star:
    """One star of the list.

    Parameters
    ----------
    id : str
        Its name in the panel: a number by brightness, or "added" and a number.
    ra, dec : float
        ICRS [deg].
    x, y : float
        Pixel of the band.
    snr : float
        Signal-to-noise ratio of the flux; NaN for one that was added by hand.
    used : bool
        Whether it is in the stack.
    """

    id: str
    ra: float
    dec: float
    x: float
    y: float
    snr: float
    used: bool = True

    @property
    def place(self) -> Place:
        """Its position, which stays the same whatever else is on the list."""
        return self.ra, self.dec

    @property
    def added(self) -> bool:
        """Whether it was added by hand."""
        return self.id.startswith("added")


@dataclass(frozen=True)
class _Choices:
    """What was changed by hand: a value, so that undo is going back to an earlier one."""

    out: frozenset[Place] = frozenset()
    removed: frozenset[Place] = frozenset()
    added: tuple[Star, ...] = ()
    n_added: int = 0


class StarList:
    """The stars of one band.

    Parameters
    ----------
    band : Band
        The band.
    """

    def __init__(self, band: Band) -> None:
        self.band = band
        self.proposed: tuple[Star, ...] = ()
        self._choices = _Choices()
        self._undo: list[_Choices] = []
        self._redo: list[_Choices] = []

    def propose(self, table: QTable) -> None:
        """Take the proposals of the library; what was changed by hand stays.

        Parameters
        ----------
        table : QTable
            As `sc_lab.images.propose_stars` returns it, the brightest first.
        """
        self.proposed = tuple(
            Star(str(number), round(float(ra), _DECIMALS), round(float(dec), _DECIMALS), float(x), float(y), float(snr))
            for number, (ra, dec, x, y, snr) in enumerate(
                zip(
                    *(getattr(table[name], "value", table[name]) for name in ("ra", "dec", "x", "y", "snr")),
                    strict=True,
                ),
                start=1,
            )
        )

    @property
    def stars(self) -> tuple[Star, ...]:
        """The list as it stands."""
        now = self._choices
        kept = (star for star in (*self.proposed, *now.added) if star.place not in now.removed)
        return tuple(replace(star, used=star.place not in now.out) for star in kept)

    @property
    def used(self) -> tuple[Star, ...]:
        """The stars in the stack."""
        return tuple(star for star in self.stars if star.used)

    # ---- edits ---------------------------------------------------------------------------
    def _do(self, choices: _Choices) -> None:
        self._undo.append(self._choices)
        self._redo.clear()
        self._choices = choices

    def toggle(self, star: Star) -> None:
        """Take a star out of the stack, or back in.

        Parameters
        ----------
        star : Star
            One of the list.
        """
        self._do(replace(self._choices, out=self._choices.out ^ {star.place}))

    def remove(self, star: Star) -> None:
        """Take a star off the list.

        Parameters
        ----------
        star : Star
            One of the list.
        """
        self._do(replace(self._choices, removed=self._choices.removed | {star.place}))

    def add(self, x: float, y: float, *, check: Callable[[Place], object]) -> Star:
        """Put the star at a place on the list.

        Parameters
        ----------
        x, y : float
            Pixel of the band, a few pixels from the star at most.
        check : callable
            Called with right ascension and declination; raises where no PSF can be made of the star.

        Returns
        -------
        Star
            The star; one that was on the list already is taken into the stack.

        Raises
        ------
        InputError
            If there is no star.
        """
        x, y = centred(self.band, x, y)
        now = self._choices
        for star in (*self.proposed, *now.added):
            if np.hypot(star.x - x, star.y - y) < 2.0:
                self._do(replace(now, out=now.out - {star.place}, removed=now.removed - {star.place}))
                return replace(star, used=True)
        ra, dec = (round(float(angle), _DECIMALS) for angle in self.band.to_sky(x, y))
        check((ra, dec))
        star = Star(f"added {now.n_added + 1}", ra, dec, x, y, float("nan"))
        self._do(replace(now, added=(*now.added, star), n_added=now.n_added + 1))
        return star

    # ---- the way back --------------------------------------------------------------------
    @property
    def can_undo(self) -> bool:
        """Whether there is a step to take back."""
        return bool(self._undo)

    @property
    def can_redo(self) -> bool:
        """Whether a step was taken back last."""
        return bool(self._redo)

    def undo(self) -> None:
        """Take the last step back."""
        if self._undo:
            self._redo.append(self._choices)
            self._choices = self._undo.pop()

    def redo(self) -> None:
        """Do the step taken back last again."""
        if self._redo:
            self._undo.append(self._choices)
            self._choices = self._redo.pop()


def centred(band: Band, x: float, y: float) -> Place:
    """Return the centre of the star near a place.

    Parameters
    ----------
    band : Band
        The band.
    x, y : float
        Where to look [px].

    Returns
    -------
    x, y : float
        The centroid of the highest peak within 5 px.

    Raises
    ------
    InputError
        If the place is outside the mosaic or has no usable pixels.
    """
    from sc_lab.images.psf import core_centroid, core_sigma

    ny, nx = band.shape
    if not (-0.5 <= x < nx - 0.5 and -0.5 <= y < ny - 0.5):
        msg = f"pixel ({x:.1f}, {y:.1f}) is outside the mosaic of {nx} x {ny} pixels; click inside the image"
        raise InputError(msg)
    half = 2 * _MISS + 3
    x0, y0 = round(x) - half, round(y) - half
    data, _error = band.cutout(x0, y0, 2 * half + 1, 2 * half + 1)
    near = np.s_[half - _MISS : half + _MISS + 1, half - _MISS : half + _MISS + 1]
    if not np.isfinite(data[near]).all():
        msg = f"pixels around ({x:.1f}, {y:.1f}) have no usable value; click a star with a whole core"
        raise InputError(msg)
    peak = np.unravel_index(int(np.argmax(data[near])), data[near].shape)
    px, py = half - _MISS + int(peak[1]), half - _MISS + int(peak[0])
    data = np.nan_to_num(data - np.nanmedian(data))
    core = data[py - 3 : py + 4, px - 3 : px + 4]
    cx, cy = core_centroid(data, (px, py), sigma=core_sigma(core))
    if not np.hypot(cx - px, cy - py) <= 2:
        # What has no centre is refused in words by the stack; the click says where it was.
        cx, cy = float(px), float(py)
    return x0 + cx, y0 + cy
