"""One mosaic: its pixels as nJy with errors, its place on the sky, its PSF."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from astropy.wcs.utils import wcs_to_celestial_frame

from sc_lab.errors import InputError
from sc_lab.images.fitsfiles import PixelSource
from sc_lab.images.headers import wcs_pixel_scale
from sc_lab.images.noise import SkyNoise, measure_noise
from sc_lab.images.psf import Psf
from sc_lab.units import FloatArray, value_in

__all__ = ["Band"]

#: Most pixels of one cut-out: 2 x 8 bytes each, with room for what is made of them.
_MOST_PIXELS = 400_000_000

#: Rows by which a band is told from another: few, so that a large mosaic is not read for it.
_SAMPLED_ROWS = 48


class Band:
    """One band of a field. Made by `Field.from_files` or `Field.from_arrays`.

    Parameters
    ----------
    name : str
        Upper case, such as ``"F150W"``.
    image : PixelSource
        Pixels in the image's own unit.
    wcs : `~astropy.wcs.WCS`
        Celestial.
    to_njy : float
        nJy per pixel for one image unit.
    unit : str, optional
        The image unit as it was read.
    psf : Psf, optional
        On this band's grid, or oversampled.
    error : PixelSource or float, optional
        Standard deviations in the image unit, or one number for all pixels; None measures the scatter of the sky.
    weight : PixelSource, optional
        Inverse variances in the image unit, used when there is no ``error``.
    mask : PixelSource, optional
        Not zero = excluded: the pixel's error is NaN.
    noise_scale : float, optional
        Factor on the errors.
    gain : float, optional
        Electrons per nJy, where the error map holds the noise of the sky alone: the counting noise of the sources
        is then added to it. None adds nothing.
    sky : PixelSource, optional
        Blank sky with the same processing, in the image unit, where the noise is measured; None uses the image.
    source : str, optional
        File name.
    cautions : tuple of str, optional
        What was odd and how it was read.

    Notes
    -----
    Pixel indices are 0-based and the centre of a pixel has integer coordinates.
    """

    def __init__(
        self,
        name: str,
        image: PixelSource,
        wcs: WCS,
        *,
        to_njy: float,
        unit: str = "nJy",
        psf: Psf | None = None,
        error: PixelSource | float | None = None,
        weight: PixelSource | None = None,
        mask: PixelSource | None = None,
        noise_scale: float = 1.0,
        gain: float | None = None,
        sky: PixelSource | None = None,
        source: str = "",
        cautions: tuple[str, ...] = (),
    ) -> None:
        for what, other in (("error map", error), ("weight map", weight), ("mask", mask)):
            if other is not None and not isinstance(other, (int, float)) and other.shape != image.shape:
                msg = (
                    f"{name}: the {what} has {other.shape[1]} x {other.shape[0]} pixels, the image "
                    f"{image.shape[1]} x {image.shape[0]}; give the one that belongs to this image"
                )
                raise InputError(msg)
        self.name = name
        self.shape: tuple[int, int] = (int(image.shape[0]), int(image.shape[1]))
        self.wcs = wcs
        self.pixel_scale = wcs_pixel_scale(wcs)
        self.to_njy = float(to_njy)
        self.unit = unit
        self.psf = psf
        self.noise_scale = float(noise_scale)
        if gain is not None and not (np.isfinite(gain) and gain > 0):
            msg = f"{name}: the gain is {gain}; give electrons per nJy, above 0, or None for maps that are complete"
            raise InputError(msg)
        self.gain = None if gain is None else float(gain)
        self.source = source
        self.cautions = tuple(cautions)
        self._image = image
        self._error = error
        self._weight = weight
        self._mask = mask
        self._sky = sky

    def with_changes(self, **changes: Any) -> Band:
        """Return a copy that shares the pixels.

        Parameters
        ----------
        **changes
            ``psf``, ``noise_scale``, ``cautions`` or any other argument of the class.

        Returns
        -------
        Band
            The changed copy.
        """
        now: dict[str, Any] = {
            "to_njy": self.to_njy,
            "unit": self.unit,
            "psf": self.psf,
            "error": self._error,
            "weight": self._weight,
            "mask": self._mask,
            "noise_scale": self.noise_scale,
            "gain": self.gain,
            "sky": self._sky,
            "source": self.source,
            "cautions": self.cautions,
        }
        name, image, wcs = (
            changes.pop(key, old) for key, old in (("name", self.name), ("image", self._image), ("wcs", self.wcs))
        )
        unknown = sorted(set(changes) - set(now))
        if unknown:
            msg = f"a band has no {', '.join(unknown)}; it has name, image, wcs, {', '.join(now)}"
            raise InputError(msg)
        out = Band(name, image, wcs, **(now | changes))
        if "sha256" in self.__dict__ and image is self._image:
            out.__dict__["sha256"] = self.sha256
        if "noise" in self.__dict__ and image is self._image and not set(changes) & {"error", "weight", "mask", "sky"}:
            out.__dict__["noise"] = self.noise
        return out

    @property
    def sources(self) -> tuple[PixelSource, PixelSource | float | None, PixelSource | None, PixelSource | None]:
        """Where pixels come from: image, errors, weights, sky frame; in the image unit."""
        return self._image, self._error, self._weight, self._sky

    @property
    def has_errors(self) -> bool:
        """Whether an error or weight map was given."""
        return self._error is not None or self._weight is not None

    def cutout(self, x0: int, y0: int, nx: int, ny: int) -> tuple[FloatArray, FloatArray]:
        """Return a rectangle of pixels and their errors, reading no others.

        Parameters
        ----------
        x0, y0 : int
            Indices of the lower left pixel; may lie outside the mosaic.
        nx, ny : int
            Size [px].

        Returns
        -------
        data, error : ndarray, shape (ny, nx)
            Float64, nJy per pixel. ``data`` is NaN outside the mosaic and where the file has no value; ``error`` is
            NaN wherever a pixel cannot be used: there, masked, or an error that is zero, negative or not finite.

        Raises
        ------
        InputError
            If an index is no whole number, or the rectangle has no pixel or more than fit into memory.
        """
        x0, y0, nx, ny = (_whole(v, k) for v, k in ((x0, "x0"), (y0, "y0"), (nx, "nx"), (ny, "ny")))
        if nx < 1 or ny < 1:
            msg = f"a cut-out of {nx} x {ny} pixels has no pixel; nx and ny are at least 1"
            raise InputError(msg)
        if nx * ny > _MOST_PIXELS:
            msg = (
                f"a cut-out of {nx} x {ny} pixels does not fit into memory; give a smaller one, "
                f"{self.name} has {self.shape[1]} x {self.shape[0]}"
            )
            raise InputError(msg)
        left, right = max(x0, 0), min(x0 + nx, self.shape[1])
        bottom, top = max(y0, 0), min(y0 + ny, self.shape[0])
        if left >= right or bottom >= top:
            return np.full((ny, nx), np.nan), np.full((ny, nx), np.nan)
        box = (bottom, top, left, right)
        values = self._image.read(*box)
        usable = self._usable(box, values)
        if self._mask is not None:
            usable[self._mask.read(*box) != 0] = np.nan
        if self.to_njy != 1:
            values *= self.to_njy
        if self.to_njy * self.noise_scale != 1:
            usable *= self.to_njy * self.noise_scale
        if self.gain is not None:
            # From the pixel itself: one that lies low is then trusted a little more, by its noise over the gain times
            # the sky's variance, a part in a hundred where the sky dominates.
            usable = np.hypot(usable, np.sqrt(np.maximum(values, 0.0) / self.gain))
        if values.shape == (ny, nx):
            return values, usable
        data, error = np.full((ny, nx), np.nan), np.full((ny, nx), np.nan)
        inside = np.s_[bottom - y0 : top - y0, left - x0 : right - x0]
        data[inside], error[inside] = values, usable
        return data, error

    def _usable(self, box: tuple[int, int, int, int], values: FloatArray) -> FloatArray:
        """Return the errors of a box inside the mosaic as the file has them [image unit], NaN where unusable."""
        if self._error is None and self._weight is not None:
            weight = self._weight.read(*box)
            with np.errstate(divide="ignore", invalid="ignore"):
                error = np.where(weight > 0, 1 / np.sqrt(weight), np.nan)
        elif self._error is None or isinstance(self._error, (int, float)):
            error = np.full(values.shape, self.noise.scatter if self._error is None else float(self._error))
        else:
            error = self._error.read(*box)
        # Three sums tell that nothing is wrong, which is much cheaper than asking every pixel.
        if not (np.isfinite(values.sum()) and np.isfinite(error.sum()) and error.min() > 0):
            error[~np.isfinite(values) | ~np.isfinite(error) | (error <= 0)] = np.nan
        return error

    @cached_property
    def noise(self) -> SkyNoise:
        """What blank sky says about the noise, in the image's unit and before ``noise_scale``."""
        errors = self._usable if self.has_errors else None
        return measure_noise(self._image, errors, mask=self._mask, sky=self._sky)

    @cached_property
    def sha256(self) -> str:
        """Hash of the image file, or of the pixels of an array."""
        digest = hashlib.sha256()
        if Path(self.source).is_file():
            with Path(self.source).open("rb") as stream:
                while chunk := stream.read(4 * 1024**2):
                    digest.update(chunk)
        else:
            for y0 in range(0, self.shape[0], 256):
                rows = self._image.read(y0, min(y0 + 256, self.shape[0]), 0, self.shape[1])
                digest.update(np.ascontiguousarray(rows, dtype="<f8").tobytes())
        return digest.hexdigest()

    @cached_property
    def fingerprint(self) -> str:
        """Text that tells whether a measurement was made on this band: coordinates, unit, PSF, some rows of pixels."""
        digest = hashlib.sha256(f"{self.name} {self.shape} {self.to_njy!r} {self.wcs.to_header_string()}".encode())
        if self.psf is not None:
            digest.update(f"{self.psf.pixel_scale!r} {self.psf.oversampling} {self.psf.energy_fraction!r}".encode())
            digest.update(np.ascontiguousarray(self.psf.stamp, dtype="<f8").tobytes())
        for y in np.unique(np.linspace(0, self.shape[0] - 1, _SAMPLED_ROWS).astype(int)).tolist():
            for values in self.cutout(0, y, self.shape[1], 1):
                digest.update(np.ascontiguousarray(values, dtype="<f8").tobytes())
        return digest.hexdigest()[:16]

    @property
    def sky_scatter(self) -> float:
        """Standard deviation of blank-sky pixels, measured on the image itself [nJy]."""
        return self.noise.scatter * self.to_njy

    @property
    def noise_correlation(self) -> FloatArray | None:
        """Autocorrelation of blank sky, shape (11, 11), 1 in the middle; None where there is too little sky."""
        return self.noise.correlation

    # ---- sky ----------------------------------------------------------------------------

    @cached_property
    def _frame(self) -> Any:
        """The frame of the WCS when it is not ICRS, else None."""
        frame = wcs_to_celestial_frame(self.wcs)
        return None if frame.name == "icrs" else frame

    def to_pixel(self, ra: npt.ArrayLike | u.Quantity, dec: npt.ArrayLike | u.Quantity) -> tuple[Any, Any]:
        """Return pixel coordinates of sky positions.

        Parameters
        ----------
        ra, dec : array_like or Quantity
            ICRS [deg].

        Returns
        -------
        x, y : ndarray
            0-based pixel coordinates; NaN where the projection does not reach.
        """
        a, d = np.broadcast_arrays(value_in(ra, u.deg, "ra"), value_in(dec, u.deg, "dec"))
        if self._frame is not None:
            moved = SkyCoord(a, d, unit="deg", frame="icrs").transform_to(self._frame).spherical
            a, d = moved.lon.deg, moved.lat.deg
        x, y = self._raw("s2p", np.ravel(a), np.ravel(d))
        return x.reshape(np.shape(a))[()], y.reshape(np.shape(a))[()]

    def to_sky(self, x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Any, Any]:
        """Return sky positions of pixel coordinates.

        Parameters
        ----------
        x, y : array_like
            0-based pixel coordinates.

        Returns
        -------
        ra, dec : ndarray
            ICRS [deg].
        """
        xx, yy = np.broadcast_arrays(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64))
        ra, dec = self._raw("p2s", np.ravel(xx), np.ravel(yy))
        if self._frame is not None:
            good = np.isfinite(ra) & np.isfinite(dec)
            moved = SkyCoord(np.where(good, ra, 0), np.where(good, dec, 0), unit="deg", frame=self._frame).icrs
            ra, dec = np.where(good, moved.ra.deg, np.nan), np.where(good, moved.dec.deg, np.nan)
        return ra.reshape(np.shape(xx))[()], dec.reshape(np.shape(xx))[()]

    def _raw(self, way: str, a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Transform in the WCS's own frame; positions without an image become NaN."""
        good = np.isfinite(a) & np.isfinite(b)
        out = np.full((2, a.size), np.nan)
        if good.any():
            points = np.column_stack([a[good], b[good]])
            if way == "p2s":
                out[:, good] = self.wcs.all_pix2world(points, 0).T
            elif self.wcs.has_distortion:
                out[:, good] = self.wcs.all_world2pix(points, 0, quiet=True).T
            else:
                out[:, good] = self.wcs.wcs.s2p(points, 0)["pixcrd"].T
        return out[0], out[1]

    def jacobian_to(self, other: Band, x: npt.ArrayLike, y: npt.ArrayLike) -> FloatArray:
        """Return the local matrix from this band's pixel offsets to another's.

        Parameters
        ----------
        other : Band
            The band to go to.
        x, y : array_like
            Positions in this band [px].

        Returns
        -------
        ndarray, shape (..., 2, 2)
            ``J[..., i, j]`` = d(x, y)[i] of ``other`` / d(x, y)[j] of this band, so that a covariance goes over as
            ``J C J.T``.
        """
        xx, yy = np.broadcast_arrays(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64))
        steps = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
        px, py = other.to_pixel(*self.to_sky(xx[..., None] + steps[:, 0], yy[..., None] + steps[:, 1]))
        out = np.empty((*np.shape(xx), 2, 2))
        out[..., 0, 0], out[..., 0, 1] = (px[..., 0] - px[..., 1]) / 2, (px[..., 2] - px[..., 3]) / 2
        out[..., 1, 0], out[..., 1, 1] = (py[..., 0] - py[..., 1]) / 2, (py[..., 2] - py[..., 3]) / 2
        return out

    def __repr__(self) -> str:
        psf = f'PSF {self.psf.fwhm:.3f}"' if self.psf is not None else "no PSF"
        return f'Band({self.name}, {self.shape[1]} x {self.shape[0]} px of {self.pixel_scale:.4g}", {self.unit}, {psf})'


def _whole(value: Any, name: str) -> int:
    """Return a pixel index as an int."""
    number: int | None
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or number != value:
        msg = f"{name} is {value!r}; a cut-out begins at a whole pixel: give an integer"
        raise InputError(msg)
    return number
