"""Point spread functions synthesised from a segmented aperture: diffraction, jitter, detector pixel and drizzle."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft
from scipy.ndimage import map_coordinates

from sc_lab.errors import InputError
from sc_lab.units import FloatArray

__all__ = ["BOX", "FILTERS", "Filter", "SyntheticPsf", "segmented_pupil", "synthesise_psf"]

#: Side of the periodic box on which a synthetic PSF lives [arcsec]; light beyond it is folded back in.
BOX = 6.0
_ARCSEC_PER_RADIAN = 180.0 / np.pi * 3600.0
#: Primary mirror of JWST: 18 hexagons 1.32 m across their flats, a gap apart, one place in the middle left
#: free, and three legs of the secondary mirror (rounded figures of its public description) [m].
_FLAT, _GAP, _LEG = 1.32, 0.007, 0.10
_PUPIL_SIDE, _PUPIL_PIXELS, _SUPER = 6.72, 192, 4
#: Wavelengths over which a band is averaged.
_COLOURS = 5


@dataclass(frozen=True, kw_only=True)
class Filter:
    """What the mock needs to know of one NIRCam band.

    Attributes
    ----------
    name : str
        Name, upper case.
    pivot : float
        Pivot wavelength [micron].
    width : float
        Bandwidth [micron].
    pixel_scale : float
        Pixel of the mosaic [arcsec]: 0.02 in the short, 0.04 in the long channel (Claeyssens et al. 2026,
        section 3.1.2).
    detector_pixel : float
        Pixel of the detector [arcsec].
    depth : float
        Point sources of this magnitude have 5 sigma in an aperture of 0.2 arcsec across [AB].
    """

    name: str
    pivot: float
    width: float
    pixel_scale: float
    detector_pixel: float
    depth: float


def _short(name: str, pivot: float, width: float, depth: float) -> Filter:
    return Filter(name=name, pivot=pivot, width=width, pixel_scale=0.02, detector_pixel=0.031, depth=depth)


def _long(name: str, pivot: float, width: float, depth: float) -> Filter:
    return Filter(name=name, pivot=pivot, width=width, pixel_scale=0.04, detector_pixel=0.063, depth=depth)


#: The nine bands of GLIMPSE (JWST programme 3293, Atek & Chisholm): seven wide and two medium ones. The survey
#: quotes about 30.9 AB for its deepest wide bands; the depth of each band here is a schematic in that range.
FILTERS: dict[str, Filter] = {
    each.name: each
    for each in (
        _short("F090W", 0.90, 0.19, 30.7),
        _short("F115W", 1.15, 0.23, 30.8),
        _short("F150W", 1.50, 0.32, 30.8),
        _short("F200W", 1.99, 0.46, 30.9),
        _long("F277W", 2.78, 0.67, 30.9),
        _long("F356W", 3.57, 0.79, 30.8),
        _long("F410M", 4.08, 0.44, 30.5),
        _long("F444W", 4.40, 1.02, 30.6),
        _long("F480M", 4.82, 0.30, 30.0),
    )
}


@dataclass(frozen=True, eq=False)
class SyntheticPsf:
    """A band-limited PSF, known at every scale.

    Attributes
    ----------
    band : str
        Name of the filter.
    spectrum : ndarray, shape (m, m), m odd
        Fourier coefficients at multiples of 1 / `BOX` cycles per arcsec, zero frequency in the middle; real where
        the PSF is symmetric about its centre.
    """

    band: str
    spectrum: npt.NDArray[Any]

    @classmethod
    def from_stamp(cls, stamp: FloatArray, pixel_scale: float, *, band: str = "", energy: float = 1.0) -> SyntheticPsf:
        """Take a PSF from a stamp, which must hold all of it.

        Parameters
        ----------
        stamp : ndarray, shape (n, n), n odd
            Centred on the middle pixel; critically sampled; any normalisation.
        pixel_scale : float
            Pixel of the stamp [arcsec]; a whole number of them must fill `BOX`.
        band : str
            Name of the filter.
        energy : float
            Share of a source's flux that the stamp holds; what is beyond it is not painted.

        Returns
        -------
        SyntheticPsf
            The PSF that has the stamp's values at its pixels and no higher frequencies.

        Raises
        ------
        InputError
            If the stamp is even or larger than the box, or its pixels do not fill it.
        """
        n, side = stamp.shape[0], round(BOX / pixel_scale)
        if stamp.shape != (n, n) or n % 2 == 0 or n > side or abs(side * pixel_scale - BOX) > 1e-6 * BOX:
            msg = (
                f"the stamp has the shape {stamp.shape} and pixels of {pixel_scale:g} arcsec; give an odd square of at "
                f"most {BOX:g} arcsec, whose pixel divides {BOX:g} arcsec"
            )
            raise InputError(msg)
        field = np.zeros((side, side))
        index = (np.arange(n) - n // 2) % side
        field[np.ix_(index, index)] = stamp * (energy / stamp.sum())
        half = (side - 1) // 2
        middle = side // 2
        spectrum = fft.fftshift(fft.fft2(field))[middle - half : middle + half + 1, middle - half : middle + half + 1]
        return cls(band, spectrum)

    def sampled(self, pixel_scale: float) -> FloatArray:
        """Return the PSF at the centres of pixels of any size.

        Parameters
        ----------
        pixel_scale : float
            Distance of the samples [arcsec]; a whole number of them must fill `BOX`.

        Returns
        -------
        ndarray, shape (n, n)
            Flux per pixel, centred on pixel ``n // 2``, summing to 1 (n = `BOX` / ``pixel_scale``).

        Raises
        ------
        InputError
            If the samples do not fill the box.
        """
        n = round(BOX / pixel_scale)
        if abs(n * pixel_scale - BOX) > 1e-9 * BOX or n < 2:
            msg = f"pixel_scale is {pixel_scale:g} arcsec; give {BOX:g} arcsec divided by a whole number"
            raise InputError(msg)
        # A sample at j is sum_m c_m exp(2 pi i m j / n): frequencies n apart fall on one another.
        half = self.spectrum.shape[0] // 2
        index = np.arange(-half, half + 1) % n
        folded = np.zeros((n, n), dtype=self.spectrum.dtype)
        rows = np.zeros((n, self.spectrum.shape[1]), dtype=self.spectrum.dtype)
        np.add.at(rows, index, self.spectrum)
        np.add.at(folded.T, index, rows.T)
        return np.asarray(fft.fftshift(fft.ifft2(folded).real))


@lru_cache(maxsize=1)
def segmented_pupil() -> FloatArray:
    """Return the transmission of the primary mirror.

    Returns
    -------
    ndarray, shape (192, 192)
        From 0 to 1, over a square of 6.72 m.
    """
    n = _PUPIL_PIXELS * _SUPER
    axis = (np.arange(n) + 0.5) * (_PUPIL_SIDE / n) - _PUPIL_SIDE / 2
    x, y = axis[None, :], axis[:, None]
    pitch = _FLAT + _GAP
    open_ = np.zeros((n, n), dtype=bool)
    for q in range(-2, 3):
        for r in range(-2, 3):
            if abs(q + r) > 2 or q == r == 0:
                continue
            dx, dy = x - pitch * np.sqrt(0.75) * q, y - pitch * (r + q / 2)
            # A hexagon with a flat at the top: half the flat distance along three directions.
            across = [np.abs(dx * np.sin(t) + dy * np.cos(t)) for t in np.radians([0.0, 60.0, 120.0])]
            open_ |= np.maximum(np.maximum(across[0], across[1]), across[2]) < _FLAT / 2
    for angle in np.radians([90.0, 240.0, 300.0]):
        along, aside = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
        open_ &= ~((along > 0) & (np.abs(aside) < _LEG / 2))
    blocks = open_.reshape(_PUPIL_PIXELS, _SUPER, _PUPIL_PIXELS, _SUPER)
    return np.asarray(blocks.mean(axis=(1, 3)))


@lru_cache(maxsize=1)
def _transfer() -> tuple[FloatArray, float]:
    """Return the autocorrelation of the pupil, zero lag in the middle and 1 there, and its step [m]."""
    size = 2 * _PUPIL_PIXELS
    amplitude = fft.fft2(segmented_pupil(), (size, size))
    lag = fft.fftshift(fft.ifft2(np.abs(amplitude) ** 2).real)
    return np.asarray(lag / lag.max()), _PUPIL_SIDE / _PUPIL_PIXELS


@lru_cache(maxsize=32)
def synthesise_psf(band: str, *, angle: float = 17.0, jitter: float = 0.011, drop: float = 0.75) -> SyntheticPsf:
    """Return the effective PSF of a mosaic in one band.

    Parameters
    ----------
    band : str
        Name of a filter in `FILTERS`.
    angle : float
        Position angle of the telescope, from +y towards -x [deg].
    jitter : float
        Standard deviation of pointing jitter and charge diffusion [arcsec].
    drop : float
        Side of the drizzle drop over that of a detector pixel.

    Returns
    -------
    SyntheticPsf
        With diffraction, jitter, the detector's pixel and the drop in it: a pixel of the mosaic holds its
        value at the pixel's centre.

    Raises
    ------
    InputError
        If the band is unknown.

    Notes
    -----
    The optical transfer function of one wavelength is the autocorrelation of the pupil at wavelength times
    frequency; a flat spectrum is averaged over the band. Aberrations are left out, which makes cores of short
    wavelengths sharper than the real ones by some milliarcseconds; ``jitter`` is set so that F150W has a full
    width at half maximum of 0.06 arcsec, as in mosaics with 20 mas pixels.
    """
    if band not in FILTERS:
        msg = f"there is no synthetic PSF of {band!r}; the bands are {', '.join(FILTERS)}"
        raise InputError(msg)
    each = FILTERS[band]
    lag, step = _transfer()
    shortest = (each.pivot - each.width / 2) * 1e-6
    half = int(np.ceil(_PUPIL_SIDE * BOX / (shortest * _ARCSEC_PER_RADIAN)))
    frequency = np.arange(-half, half + 1) / BOX
    kx, ky = frequency[None, :], frequency[:, None]
    turn = np.radians(angle)
    ux, uy = kx * np.cos(turn) + ky * np.sin(turn), -kx * np.sin(turn) + ky * np.cos(turn)
    total = np.zeros((2 * half + 1, 2 * half + 1))
    for offset in (np.arange(_COLOURS) + 0.5) / _COLOURS - 0.5:
        metres = (each.pivot + offset * each.width) * 1e-6 * _ARCSEC_PER_RADIAN / step
        place = np.stack([uy * metres, ux * metres]) + _PUPIL_PIXELS
        total += map_coordinates(lag, place, order=1, mode="constant")
    # Symmetric to rounding already; exactly so the PSF is centred to the last bit.
    total = (total + total[::-1, ::-1]) / (2 * _COLOURS)
    total *= np.exp(-2.0 * np.pi**2 * jitter**2 * (kx**2 + ky**2))
    for side in (each.detector_pixel, drop * each.detector_pixel):
        total *= np.sinc(kx * side) * np.sinc(ky * side)
    spectrum = total / total[half, half]
    spectrum.flags.writeable = False
    return SyntheticPsf(band=band, spectrum=spectrum)


def half_maximum_width(stamp: npt.NDArray[Any], pixel_scale: float) -> float:
    """Return the diameter of the circle that has the area above half of the maximum."""
    return float(2.0 * np.sqrt((stamp >= stamp.max() / 2).sum() / np.pi) * pixel_scale)
