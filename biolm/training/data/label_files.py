"""Labels where the data are: columns of the cell files' obs tables, and tables of genes."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import ConfigError, InputError
from biolm.io.cells import label_text, open_cells
from biolm.io.label_table import read_label_table
from biolm.settings import nearest
from biolm.training.config import LabelConfig, RunConfig
from biolm.training.data.cells import CellExamples, Examples
from biolm.training.data.labels import LabelColumn, Labels, encode_classes, read_numbers
from biolm.training.data.sequences import SequenceExamples

if TYPE_CHECKING:
    from biolm.objectives.base import LabelKind
    from biolm.training.data.vocabulary import Vocabulary

__all__ = ["column_of", "read_labels"]

log = logging.getLogger("biolm")


def read_labels(
    examples: Examples, vocabulary: Vocabulary, config: RunConfig, kinds: Mapping[str, LabelKind]
) -> Labels:
    """The label columns that the objectives of a run read.

    Parameters
    ----------
    examples
        The data; obs columns are those of its files.
    vocabulary
        Whose tokens a table of genes labels.
    config
        Its ``data.labels`` say where a column is found under another name, and what means missing.
    kinds
        Columns, and what each is read as.

    Raises
    ------
    ConfigError
        If ``data.labels`` names a column that no objective reads.
    InputError
        If there is no such column, or it holds text where numbers are wanted.
    """
    for name in config.data.labels:
        if name not in kinds:
            raise ConfigError(
                f"data.labels.{name} is read by no objective; {nearest(name, list(kinds) or ['none'])}"
            )
    columns = {}
    for name, kind in kinds.items():
        chosen = config.data.labels.get(name, LabelConfig())
        if chosen.genes is not None:
            columns[name] = _of_genes(name, chosen, kind, vocabulary)
            continue
        if kind == "vectors":
            raise InputError(
                f"the column {name!r} holds vectors, which an obs table cannot; give them from Python "
                "(biolm.training.fine_tune)"
            )
        values = _values_of(examples, name, chosen)
        if kind == "numbers":
            columns[name] = LabelColumn(values=read_numbers(name, values, chosen.missing))
        else:
            codes, classes = encode_classes(values, chosen.classes, chosen.missing)
            columns[name] = LabelColumn(values=codes, classes=classes)
    return Labels(columns)


def _values_of(examples: Examples, name: str, chosen: LabelConfig) -> NDArray[Any]:
    """``(n,)`` values of a column, from obs or from a table of records."""
    if isinstance(examples, SequenceExamples):
        if chosen.table is None:
            raise InputError(f"sequences have no column {name!r}; name a table (data.labels.{name}.table)")
        table = read_label_table(chosen.table, examples.store.names)
        return table.column(chosen.column or name)[examples.record]
    if chosen.table is not None:
        raise ConfigError(f"data.labels.{name}.table labels sequences; cells have labels in obs columns")
    return column_of(examples, chosen.column or name)


def column_of(examples: Examples, name: str) -> NDArray[Any]:
    """``(n,)`` one obs column of all examples; missing in files that lack it, if another has it.

    Examples that keep columns of their own offer them by a method ``column(name)``.

    Raises
    ------
    InputError
        If no file has the column, or the examples are no cells.
    """
    own = getattr(examples, "column", None)
    if own is not None:
        return np.asarray(own(name))
    if not isinstance(examples, CellExamples):
        raise InputError(f"stored tokens have no obs column {name!r}; train on the cells themselves")
    parts: list[NDArray[Any] | int] = []
    known: dict[str, None] = {}
    for path in examples.files:
        with open_cells(path, matrix=examples.matrix) as source:
            known |= dict.fromkeys(source.obs_columns())
            parts.append(source.obs_column(name) if name in source.obs_columns() else source.n_cells)
    found = [part for part in parts if not isinstance(part, int)]
    if not found:
        have = nearest(name, list(known)) if known else "they have none"
        raise InputError(f"no file of cells has the obs column {name!r}; {have}")
    for path, part in zip(examples.files, parts, strict=True):
        if isinstance(part, int):
            log.warning("%s has no obs column %r: its cells count as unlabelled", path, name)
    text = any(part.dtype.kind == "U" for part in found)
    gap = "" if text else np.nan
    return np.concatenate(
        [
            np.full(part, gap) if isinstance(part, int) else label_text(part) if text else part
            for part in parts
        ]
    )


def _of_genes(name: str, chosen: LabelConfig, kind: LabelKind, vocabulary: Vocabulary) -> LabelColumn:
    """Labels of tokens from a table with a gene and its label in each row."""
    table = _read_table(Path(str(chosen.genes)).expanduser(), chosen.column or name)
    labels = np.full(vocabulary.size, "", dtype=object)
    found = [(vocabulary.tokens[gene], label) for gene, label in table if gene in vocabulary.tokens]
    if not found:
        raise InputError(
            f"none of the {len(table)} genes of {chosen.genes} is a token of the vocabulary; name them as it "
            f"does, such as {next(reversed(vocabulary.tokens))}"
        )
    for token, label in found:
        labels[token] = label
    if kind == "numbers":
        return LabelColumn(values=read_numbers(name, labels, chosen.missing), level="vocabulary")
    codes, classes = encode_classes(labels, chosen.classes, chosen.missing)
    return LabelColumn(values=codes, classes=classes, level="vocabulary")


def _read_table(path: Path, column: str) -> list[tuple[str, str]]:
    """Gene (the first column) and label of each row of a table with a header, by commas or tabs."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            first = file.readline()
            file.seek(0)
            rows = list(csv.reader(file, delimiter="\t" if "\t" in first else ","))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the table of genes {path} cannot be read; give text by commas or tabs") from error
    header = rows[0] if rows else []
    if column not in header[1:]:
        raise InputError(f"{path} has no column {column!r}; {nearest(column, header[1:] or ['none'])}")
    place = header.index(column)
    return [(row[0], row[place]) for row in rows[1:] if len(row) > place]
