"""Space Ranger 1 to 4, spots: a feature matrix beside a ``spatial`` folder.

Files and columns: 10x Genomics, "Spatial outputs". The full-resolution image is not among the outputs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from biolm.errors import InputError
from biolm.io.cells import open_cells
from biolm.io.cells.block import CellSource
from biolm.io.damage import closed_on_failure
from biolm.io.json_file import read_json
from biolm.io.spatial.joins import join_names
from biolm.io.spatial.open import SectionOptions
from biolm.io.spatial.positions import find_positions, read_positions
from biolm.io.spatial.section import Section, SectionImage

__all__ = ["USES", "find_images", "find_matrix", "open_layout", "open_outs", "read_scale", "recognises"]

USES = ("matrix", "allow_unmatched")
PITCH_UM = 100.0
"""Distance of neighbouring Visium spots."""
_SCALES = {"hires": "tissue_hires_scalef", "lowres": "tissue_lowres_scalef"}


def recognises(path: Path) -> bool:
    """Whether it is a folder with positions in ``spatial`` and a feature matrix."""
    return path.is_dir() and any((path / "spatial").glob("*tissue_positions*")) and bool(_matrices(path, "X"))


def open_layout(path: Path, options: SectionOptions) -> Section:
    """Open the spots of an ``outs`` folder."""
    return open_outs(path, options, layout="space-ranger", pitch=PITCH_UM)


def open_outs(path: Path, options: SectionOptions, *, layout: str, pitch: float | None) -> Section:
    """Open a folder with a feature matrix and ``spatial/tissue_positions``.

    Parameters
    ----------
    path
        The folder.
    options
        What the user says.
    layout
        Name of the layout.
    pitch
        Micrometres between neighbours, None to take the bin size that the scale factors state.

    Raises
    ------
    InputError
        If files are missing or counts and positions are of different runs.
    """
    source = open_cells(find_matrix(path, options.matrix))
    with closed_on_failure(source):
        table = find_positions(path / "spatial")
        positions = read_positions(table)
        names = source.cell_names()
        rows, places, fraction = join_names(
            names, positions.names, str(path), allow_unmatched=options.allow_unmatched
        )
        factors = read_scale(path / "spatial")
        return Section(
            name=path.parent.name if path.name == "outs" else path.name,
            layout=layout,
            source=source,
            rows=rows,
            names=names[rows],
            xy=positions.xy[places],
            columns={name: column[places] for name, column in positions.columns.items()},
            images=find_images(path / "spatial", factors),
            microns_per_pixel=factors.get("microns_per_pixel"),
            spot_pitch_um=pitch or factors.get("bin_size_um"),
            spot_diameter_px=factors.get("spot_diameter_fullres"),
            counted={
                "barcodes": len(names),
                "matched": len(rows),
                "matched_fraction": fraction,
                "positions": len(positions.names),
                "positions_file": table.name,
                "positions_header": positions.header,
                **left_out(source),
            },
        )


def left_out(source: CellSource) -> dict[str, Any]:
    """Feature types of the matrix that are no genes."""
    others = [name for name in source.matrices() if name not in ("X", source.matrix)]
    return {"feature_types_left_out": ", ".join(n.removeprefix("X/") for n in others)} if others else {}


def find_matrix(path: Path, asked: str) -> Path:
    """The feature matrix of a folder: filtered before raw, ``.h5`` before a folder.

    Parameters
    ----------
    path
        Of the folder.
    asked
        ``X`` or ``raw``.

    Raises
    ------
    InputError
        If there is none, or one that is neither ``X`` nor ``raw`` is asked for.
    """
    if asked not in ("X", "raw"):
        raise InputError(f"{path} holds a filtered and a raw matrix; choose X or raw, not {asked!r}")
    matrices = _matrices(path, asked)
    if not matrices:
        raise InputError(f"{path} holds no {'raw' if asked == 'raw' else 'filtered or raw'} feature matrix")
    return matrices[0]


def _matrices(path: Path, asked: str) -> list[Path]:
    kinds = ("raw",) if asked == "raw" else ("filtered", "raw")
    names = [
        f"*{kind}_feature_{of}_matrix{end}" for kind in kinds for of in ("bc", "cell") for end in (".h5", "")
    ]
    return [file for name in names for file in sorted(path.glob(name))]


def read_scale(folder: Path) -> dict[str, float]:
    """Numbers of ``scalefactors_json.json``; empty where there is no such file."""
    files = sorted(folder.glob("*scalefactors_json.json"))
    if not files:
        return {}
    content = read_json(files[0])
    return {name: float(value) for name, value in content.items() if isinstance(value, int | float)}


def find_images(folder: Path, factors: dict[str, float]) -> tuple[SectionImage, ...]:
    """The small images beside the positions, with their scales.

    Parameters
    ----------
    folder
        ``spatial``.
    factors
        Of ``scalefactors_json.json``.
    """
    files = {name: sorted(folder.glob(f"*tissue_{name}_image.*")) for name in _SCALES}
    return tuple(SectionImage(name, f[0], factors.get(_SCALES[name])) for name, f in files.items() if f)
