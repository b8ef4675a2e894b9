"""Draw the contacts of a protein, beside those of a structure.

Dimensions: ``s`` residues of a sequence.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from biolm.io.structures import Chain
from biolm.report.picture import blank_figure, picture_format, save_figure
from biolm.tasks.attention.contacts import ContactMap, align_chain

__all__ = ["draw_contacts"]


def draw_contacts(
    predicted: ContactMap, output: str | Path, chain: Chain | None = None, *, overwrite: bool = False
) -> None:
    """Draw a contact map: probabilities above the diagonal; below it those of the structure, where given.

    Parameters
    ----------
    predicted
        The map.
    output
        ``.png``, ``.svg`` or ``.pdf``.
    chain
        A structure of the same protein.
    overwrite
        Whether an existing picture may be replaced.

    Raises
    ------
    ConfigError
        If the ending is not one of a picture.
    InputError
        If the structure is of another protein.
    """
    target = Path(output)
    picture_format(target)
    length = len(predicted.sequence)
    shown = predicted.probabilities.copy()
    title = predicted.name
    if chain is not None:
        place = align_chain(predicted, chain)
        mapped = np.flatnonzero(place >= 0)
        known = np.full((length, length), np.nan, np.float32)
        known[np.ix_(mapped, mapped)] = chain.contacts[np.ix_(place[mapped], place[mapped])]
        below = np.tril_indices(length, -1)
        # Unresolved residues stay NaN, which is drawn white: neither contact nor none.
        shown[below] = known[below]
        title = f"{predicted.name} (above) and {chain.name} (below)"
    figure = blank_figure(5.2, 4.6)
    axes = figure.add_subplot()
    image = axes.imshow(
        shown,
        cmap="Blues",
        vmin=0,
        vmax=1,
        extent=(0.5, length + 0.5, length + 0.5, 0.5),
        interpolation="none",
    )
    axes.set(xlabel="residue", ylabel="residue")
    axes.set_title(title, fontsize=10)
    figure.colorbar(image, label="probability of contact", shrink=0.8)
    save_figure(figure, target, overwrite=overwrite)
