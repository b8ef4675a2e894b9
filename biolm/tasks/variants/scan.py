"""Saturation scans: every place changed to every letter, as a table and a heat map.

Dimensions: ``s`` places · ``c`` letters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.sequences import Tally
from biolm.errors import ConfigError, InputError
from biolm.io.atomic import refuse_existing
from biolm.io.intervals import Interval, Variant, read_bed
from biolm.io.provenance import digest
from biolm.io.sequences import SequenceStore
from biolm.io.table import check_table, write_table
from biolm.progress import log
from biolm.report.picture import blank_figure, picture_format, save_figure
from biolm.tasks.variants.assay import Assay, read_protein
from biolm.tasks.variants.assay_run import SCHEMA, score_assay
from biolm.tasks.variants.genome import open_reference
from biolm.tasks.variants.letters import readable_protein
from biolm.tasks.variants.methods import check_reads, choose_methods
from biolm.tasks.variants.settings import VariantScores, VariantSettings, gather
from biolm.tasks.variants.vcf_run import block_borders, look_at_windows, variant_blocks

if TYPE_CHECKING:
    from biolm.models.sequence_model import SequenceModel

__all__ = ["RESIDUES", "Scan", "draw_scan", "scan_intervals", "scan_protein"]

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
_BASES = "ACGT"
_PLACES_A_ROW, _MOST = 100, 2000


@dataclass(frozen=True, slots=True)
class Scan:
    """Scores of every letter at every place.

    Parameters
    ----------
    name
        Of the sequence.
    letters
        ``s`` unchanged letters.
    first
        Number of the first place, from 1.
    alphabet
        ``c`` letters.
    scores
        ``(c, s)``; 0 for the unchanged letter.
    """

    name: str
    letters: str
    first: int
    alphabet: str
    scores: NDArray[np.float32]


def scan_protein(
    path: str | Path,
    model: SequenceModel,
    settings: VariantSettings,
    output: Path | None = None,
    picture: Path | None = None,
) -> VariantScores:
    """Change every residue of the first protein of a file to every other.

    Parameters
    ----------
    path
        A sequence file.
    model, settings, output
        As of :func:`~biolm.tasks.variants.assay_run.score_assay`; one method.
    picture
        Where to draw the heat map.

    Raises
    ------
    BiolmError
        If input, model or output cannot be used.
    """
    check_reads(model, "protein", "a scan of a protein")
    _check(model, settings, picture)
    name, text = read_protein(path)
    tally = Tally()
    wild = readable_protein(text, model, settings, tally)
    if picture is not None:
        _check_size(len(wild))
    mutants = [
        f"{letter}{place}{other}"
        for place, letter in enumerate(wild, start=1)
        if letter.isalpha()
        for other in RESIDUES
        if other != letter
    ]
    scores = score_assay(Assay.of(wild, mutants), model, settings, output, path=Path(path), tally=tally)
    if picture is not None:
        values = np.asarray(scores.columns[scores.names[0]])
        draw_scan([_grid(name, wild, 1, RESIDUES, values)], picture, overwrite=settings.overwrite)
    return scores


def scan_intervals(
    path: str | Path,
    reference: str | Path,
    model: SequenceModel,
    settings: VariantSettings,
    output: Path | None = None,
    picture: Path | None = None,
) -> VariantScores:
    """Change every base of some intervals of a genome to every other.

    Parameters
    ----------
    path
        BED.
    reference
        FASTA or store of the genome.
    model, settings
        As of :func:`~biolm.tasks.variants.vcf_run.score_vcf`.
    output
        ``.csv``, ``.tsv`` or ``.parquet``.
    picture
        Where to draw the heat map of the first interval.

    Raises
    ------
    BiolmError
        If input, model or output cannot be used.
    """
    check_reads(model, "dna", "a scan of intervals")
    method = _check(model, settings, picture)
    if output is not None:
        check_table(output, overwrite=settings.overwrite)
    with open_reference(reference) as store:
        intervals = list(read_bed(path))
        bases = [_letters(store, each, number) for number, each in enumerate(intervals, start=1)]
        if picture is not None and bases:
            _check_size(len(bases[0]))
        variants = [each for pair in zip(intervals, bases, strict=True) for each in _changes(*pair)]
        if not variants:
            raise InputError(f"{path} holds no interval with a base to change; give a BED of such")
        metadata = settings.provenance(
            model,
            (method,),
            strands=settings.strands,
            average=settings.average,
            width=settings.width(model),
        )
        tally = Tally()
        # All windows once before the model runs: a base that it cannot read is refused or counted at the
        # start.
        for _ in look_at_windows(store, variants, model, settings, tally):
            pass
        if sentence := tally.sentence():
            log.warning("windows round variants: %s", sentence)
        metadata |= tally.as_dict()
        job = metadata | {"variants": len(variants), "bases": digest({"letters": bases})}

        def blocks(start: int) -> Iterator[NDArray[np.float64]]:
            bounds = (start, len(variants))
            yield from variant_blocks(store, variants[start:], model, method, settings, bounds)

        borders = block_borders(len(variants), method)
        values = gather(blocks, borders, 5, job, settings, output)[:, 0]
    column = f"{settings.key.lower()}_llr"
    columns: dict[str, NDArray[Any]] = {
        "contig": np.array([each.contig for each in variants], str),
        "position": np.array([each.start + 1 for each in variants], np.int64),
        "reference": np.array([each.reference for each in variants], str),
        "alternative": np.array([each.alternative for each in variants], str),
        column: values,
    }
    if output is not None:
        write_table(output, [columns], metadata, schema=SCHEMA, overwrite=settings.overwrite)
    if picture is not None:
        grids = [
            _grid(f"{each.contig}:{each.start + 1}-{each.end}", text, each.start + 1, _BASES, part)
            for each, text, part in _by_interval(intervals, bases, values)
        ]
        # One picture shows one interval; the table has all.
        draw_scan(grids[:1], picture, overwrite=settings.overwrite)
    return VariantScores(columns=columns, names=(column,), provenance=metadata, output=output)


def draw_scan(scans: Sequence[Scan], output: str | Path, *, overwrite: bool = False) -> None:
    """Draw scans as heat maps, blue where a change is likelier than what is there, red where it is less.

    Rows of a map hold 100 places; dots mark the unchanged letters.

    Parameters
    ----------
    scans
        To draw.
    output
        Picture.
    overwrite
        Whether it may be replaced.

    Raises
    ------
    ConfigError
        If the ending is not one of a picture.
    InputError
        If there are more places than a picture can show.
    """
    target = Path(output)
    picture_format(target)
    _check_size(sum(len(scan.letters) for scan in scans))
    panels = [(scan, start) for scan in scans for start in range(0, len(scan.letters), _PLACES_A_ROW)]
    limit = max(float(np.nanmax(np.abs(scan.scores), initial=0)) for scan in scans) or 1.0
    tall = 0.9 + 0.13 * len(scans[0].alphabet)
    widest = min(_PLACES_A_ROW, max(len(scan.letters) for scan in scans))
    figure = blank_figure(2.2 + 0.125 * widest, tall * len(panels))
    axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for axis, (scan, start) in zip(axes, panels, strict=True):
        image = _draw_panel(axis, scan, start, widest, limit)
    bar = figure.colorbar(image, ax=list(axes), shrink=min(1.0, 2 / len(panels)), pad=0.01)
    bar.set_label("score of the change", fontsize=7)
    bar.ax.tick_params(labelsize=6)
    save_figure(figure, target, overwrite=overwrite)


def _draw_panel(axis: Any, scan: Scan, start: int, widest: int, limit: float) -> Any:
    part = scan.scores[:, start : start + _PLACES_A_ROW]
    letters = scan.letters[start : start + _PLACES_A_ROW]
    shown = np.full((len(scan.alphabet), widest), np.nan, np.float32)
    shown[:, : part.shape[1]] = part
    image = axis.imshow(shown, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    places = [(at, scan.alphabet.find(letter)) for at, letter in enumerate(letters)]
    positions = [(at, row) for at, row in places if row >= 0]
    axis.plot(*zip(*positions, strict=True), ".", color="#333333", markersize=2.5)
    axis.set_yticks(range(len(scan.alphabet)), list(scan.alphabet), fontsize=6)
    ticks = [at for at in range(len(letters)) if (scan.first + start + at) % 10 == 0 or at == 0]
    axis.set_xticks(ticks, [f"{letters[at]}{scan.first + start + at}" for at in ticks], fontsize=6)
    axis.set_title(scan.name if start == 0 else "", fontsize=8, loc="left")
    for side in axis.spines.values():
        side.set_visible(False)
    return image


def _check(model: SequenceModel, settings: VariantSettings, picture: Path | None) -> str:
    """The one method of a scan."""
    methods = choose_methods(model, settings.method)
    if len(methods) > 1:
        raise ConfigError(f"a scan takes one method at a time, not {', '.join(methods)}; choose one")
    if picture is not None:
        picture_format(picture)
        refuse_existing(picture, overwrite=settings.overwrite)
    return methods[0]


def _check_size(places: int) -> None:
    if places > _MOST:
        raise InputError(
            f"a picture shows at most {_MOST} places, not {places}; scan a part, or draw no picture"
        )


def _letters(store: SequenceStore, interval: Interval, number: int) -> str:
    length = int(store.lengths[store.row(interval.contig)])
    if interval.end > length:
        raise InputError(
            f"interval {number} ends at {interval.contig}:{interval.end} but the contig has {length} "
            "letters; use the genome that the intervals belong to"
        )
    bases = store.window(interval.contig, interval.start, interval.end)
    return bases.tobytes().decode("ascii", "replace").upper()


def _changes(interval: Interval, letters: str) -> Iterator[Variant]:
    for place, letter in enumerate(letters):
        if letter in _BASES:
            for other in _BASES.replace(letter, ""):
                yield Variant(
                    contig=interval.contig, start=interval.start + place, reference=letter, alternative=other
                )


def _by_interval(
    intervals: Sequence[Interval], letters: Sequence[str], values: NDArray[np.float32]
) -> Iterator[tuple[Interval, str, NDArray[np.float32]]]:
    start = 0
    for interval, text in zip(intervals, letters, strict=True):
        # Three changes a base; N has none.
        size = 3 * sum(letter in _BASES for letter in text)
        yield interval, text, values[start : start + size]
        start += size


def _grid(name: str, letters: str, first: int, alphabet: str, values: NDArray[Any]) -> Scan:
    """Scores in the order of :func:`_changes` and of mutants, place by place, as a grid."""
    grid = np.full((len(alphabet), len(letters)), np.nan, np.float32)
    start = 0
    for place, letter in enumerate(letters):
        rows = [row for row, other in enumerate(alphabet) if other != letter]
        if not letter.isalpha() or (alphabet == _BASES and letter not in alphabet):
            continue
        grid[rows, place] = values[start : start + len(rows)]
        if letter in alphabet:
            grid[alphabet.index(letter), place] = 0
        start += len(rows)
    return Scan(name, letters, first, alphabet, grid)
