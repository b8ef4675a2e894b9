"""Samples of any depth and number as 8-bit RGB, with words for what was done.

Dimensions: ``H``, ``W`` pixels · ``c`` channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError

__all__ = ["converter", "over_white", "to_rgb"]

_LOW, _HIGH = 0.1, 99.9

Convert = Callable[[NDArray[Any]], NDArray[np.uint8]]


def to_rgb(pixels: NDArray[Any], name: str) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """``(H, W)`` or ``(H, W, c)`` samples as ``(H, W, 3)`` uint8, and notes on what was converted.

    Parameters
    ----------
    pixels
        ``(H, W)`` or ``(H, W, c)``.
    name
        Of the image, for messages.

    Raises
    ------
    InputError
        If the channels are not 1, 3 or 4, or a value is NaN.

    Examples
    --------
    >>> rgb, notes = to_rgb(np.full((2, 2), 1000, np.uint16), "scan")
    >>> rgb.shape, rgb.dtype.name
    ((2, 2, 3), 'uint8')
    """
    convert, notes = converter(pixels, name)
    return convert(pixels), notes


def converter(sample: NDArray[Any], name: str) -> tuple[Convert, tuple[str, ...]]:
    """A function that turns regions of an image into RGB, fitted on a sample of it.

    The range of more than 8 bits is taken from the sample once, so that all regions are alike.

    Parameters
    ----------
    sample
        Of the image.
    name
        Of the image, for messages.

    Raises
    ------
    InputError
        As :func:`to_rgb`.
    """
    channels = 1 if sample.ndim == 2 else sample.shape[2]
    if sample.ndim not in (2, 3) or channels not in (1, 3, 4):
        raise InputError(f"{name} has samples of shape {sample.shape}; give 1, 3 or 4 channels")
    notes: list[str] = []
    scale = _eight_bits(sample, name, notes)
    if channels == 1:
        notes.append("one channel, shown as grey")
    if channels == 4:
        notes.append("alpha channel, laid over white")

    def convert(pixels: NDArray[Any]) -> NDArray[np.uint8]:
        if channels == 4:
            alpha = pixels[..., 3:]
            opaque = scale(alpha) if alpha.dtype != np.uint8 else alpha
            return over_white(scale(pixels[..., :3]), opaque)
        eight = scale(pixels if pixels.ndim == 3 else pixels[..., None])
        return np.repeat(eight, 3, axis=2) if channels == 1 else eight

    return convert, tuple(notes)


def over_white(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pixels with an alpha channel ``(H, W, 1)`` on a white ground.

    Parameters
    ----------
    rgb
        ``(H, W, 3)``.
    alpha
        ``(H, W, 1)``.
    """
    opacity = alpha.astype(np.float32) / 255
    return np.asarray(np.rint(rgb * opacity + 255 * (1 - opacity)), np.uint8)


def _eight_bits(sample: NDArray[Any], name: str, notes: list[str]) -> Convert:
    """A function to uint8; notes say which range became 0 to 255."""
    if sample.dtype == np.uint8:
        return lambda pixels: np.ascontiguousarray(pixels)
    if sample.dtype == bool:
        return lambda pixels: pixels.astype(np.uint8) * 255
    colours = sample[..., :3] if sample.ndim == 3 else sample
    if not np.isfinite(colours).all():
        raise InputError(f"{name} holds NaN; export the image again")
    if sample.dtype.kind == "f" and colours.min() >= 0 and colours.max() <= 1:
        low, high = 0.0, 1.0
    else:
        # Percentiles: one hot pixel would leave the tissue black.
        low, high = (float(value) for value in np.percentile(colours, [_LOW, _HIGH]))
        notes.append(f"{sample.dtype.name} values {low:g} to {high:g} became 0 to 255")
    width = max(high - low, 1e-12)

    def scale(pixels: NDArray[Any]) -> NDArray[np.uint8]:
        return np.asarray(np.rint(np.clip((pixels.astype(np.float32) - low) / width, 0, 1) * 255), np.uint8)

    return scale
