"""Splits of tissue: by patient, by section, or by blocks with a gap; never by spots at random unless forced.

Neighbouring spots resemble each other, so a random split of spots lets coordinates alone reach r = 0.37 to
0.44 where blocks leave 0.06 to 0.16.

Dimensions: ``n`` spots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biolm.errors import ConfigError, InputError

__all__ = ["SPLITS", "Fold", "block_folds", "choose_split", "group_folds", "random_folds"]

SPLITS = ("auto", "patient", "section", "blocks", "random")
BLOCKS = 4


@dataclass(frozen=True, slots=True)
class Fold:
    """Numbers of the sections, or rows of the spots, on each side.

    Parameters
    ----------
    name
        What is held out.
    train, inner, test
        To learn from; to decide when to stop; to be scored.
    """

    name: str
    train: NDArray[np.int64]
    inner: NDArray[np.int64]
    test: NDArray[np.int64]


def choose_split(asked: str, patients: Sequence[str], *, force_random: bool = False) -> str:
    """The split to use: patients where there are several, else sections, else blocks.

    Parameters
    ----------
    asked
        What the user chose.
    patients
        Of each section.
    force_random
        Whether a random split is allowed.

    Raises
    ------
    ConfigError
        For an unknown split, a random one that is not forced, or one that the sections do not allow.

    Examples
    --------
    >>> choose_split("auto", ["A", "A", "B"]), choose_split("auto", ["A", "A"]), choose_split("auto", ["A"])
    ('patient', 'section', 'blocks')
    """
    if asked not in SPLITS:
        raise ConfigError(f"split must be one of {', '.join(SPLITS)}, not {asked!r}")
    if asked == "random" and not force_random:
        raise ConfigError(
            "a random split of spots puts neighbours on both sides, so that coordinates alone predict "
            "well; split by patient, section or blocks (`force_random_split=True` does it all the same)"
        )
    most = "patient" if len(set(patients)) > 1 else "section" if len(patients) > 1 else "blocks"
    if asked == "auto":
        return most
    allowed = {"patient": ("patient", "section"), "section": ("section",), "blocks": ("blocks",)}[most]
    if asked not in (*allowed, "random") or (asked in ("blocks", "random") and len(patients) > 1):
        raise ConfigError(
            f"{len(patients)} sections of {len(set(patients))} patients cannot be split by {asked}; use "
            f"{most}"
        )
    return asked


def group_folds(groups: Sequence[str]) -> list[Fold]:
    """Leave one group (patient or section) out; the next group in order is the inner one.

    With two groups there is no third for the inner role, so ``inner`` is empty there.
    """
    names = sorted(set(groups))
    number = np.array([names.index(group) for group in groups])
    folds = []
    for held_out, name in enumerate(names):
        others = [place for place in range(len(names)) if place != held_out]
        inner = others[held_out % len(others)] if len(others) > 1 else -1
        train = [place for place in others if place != inner]
        folds.append(
            Fold(
                name,
                np.flatnonzero(np.isin(number, train)),
                np.flatnonzero(number == inner),
                np.flatnonzero(number == held_out),
            )
        )
    return folds


def block_folds(xy: NDArray[np.float64], gap: float) -> list[Fold]:
    """Strips along the longer side of the tissue, with no training spot within ``gap`` of a held-out one.

    Parameters
    ----------
    xy
        ``(n, 2)``.
    gap
        In the unit of the places.

    Raises
    ------
    InputError
        If the gap leaves too few spots to learn from.
    """
    from scipy.spatial import KDTree

    centred = xy - xy.mean(0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    along = centred @ axes[:, -1]
    # By rank, so that every strip has as many spots, however the tissue is shaped.
    strip = np.minimum(np.argsort(np.argsort(along, kind="stable")) * BLOCKS // len(xy), BLOCKS - 1)

    def apart(rows: NDArray[np.int64], from_rows: NDArray[np.int64]) -> NDArray[np.int64]:
        distance, _ = KDTree(xy[from_rows]).query(xy[rows])
        return np.asarray(rows[distance > gap])

    folds = []
    for held_out in range(BLOCKS):
        # Not the neighbour: the gap would otherwise be cut out of the same strip twice.
        inner_strip = (held_out + 2) % BLOCKS
        test, inner = np.flatnonzero(strip == held_out), np.flatnonzero(strip == inner_strip)
        inner = apart(inner, test)
        train = apart(apart(np.flatnonzero((strip != held_out) & (strip != inner_strip)), test), inner)
        if len(train) < 20 or len(inner) < 5:
            raise InputError(
                f"a gap of {gap:.4g} leaves {len(train)} spots to learn from; give more sections or "
                "smaller patches"
            )
        folds.append(Fold(f"block {held_out + 1}", train, inner, test))
    return folds


def random_folds(n: int, *, seed: int = 0) -> list[Fold]:
    """Spots at random: what is wrong with many published figures, for comparison only.

    Parameters
    ----------
    n
        Spots.
    seed
        Of the draw.
    """
    part = np.random.default_rng(seed).permutation(n) % BLOCKS
    return [
        Fold(
            f"random {held_out + 1}",
            np.flatnonzero((part != held_out) & (part != (held_out + 1) % BLOCKS)),
            np.flatnonzero(part == (held_out + 1) % BLOCKS),
            np.flatnonzero(part == held_out),
        )
        for held_out in range(BLOCKS)
    ]
