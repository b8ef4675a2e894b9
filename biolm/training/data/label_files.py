"""Labels where the data are: columns of the cell files' obs tables, and tables of genes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from biolm.errors import ConfigError, InputError
from biolm.io.gene_list import gene_rows
from biolm.settings import nearest
from biolm.training.config import LabelConfig, RunConfig
from biolm.training.data.labels import LabelColumn, Labels, encode_classes, read_numbers

if TYPE_CHECKING:
    from biolm.objectives.base import LabelKind
    from biolm.training.data.examples import Examples
    from biolm.training.data.vocabulary import Vocabulary

__all__ = ["read_labels"]


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
        values = examples.column(name, chosen)
        if kind == "numbers":
            columns[name] = LabelColumn(values=read_numbers(name, values, chosen.missing))
        else:
            codes, classes = encode_classes(values, chosen.classes, chosen.missing)
            columns[name] = LabelColumn(values=codes, classes=classes)
    return Labels(columns)


def _of_genes(name: str, chosen: LabelConfig, kind: LabelKind, vocabulary: Vocabulary) -> LabelColumn:
    """Labels of tokens from a table with a gene and its label in each row."""
    table = _read_table(Path(str(chosen.genes)).expanduser(), chosen.column or name)
    # Texts of any length: a fixed width would cut the longer ones.
    labels = np.full(vocabulary.size, "", dtype=object)
    labelled = [(vocabulary.tokens[gene], label) for gene, label in table if gene in vocabulary.tokens]
    if not labelled:
        raise InputError(
            f"none of the {len(table)} genes of {chosen.genes} is a token of the vocabulary; name them as it "
            f"does, such as {next(reversed(vocabulary.tokens))}"
        )
    for token, label in labelled:
        labels[token] = label
    if kind == "numbers":
        return LabelColumn(values=read_numbers(name, labels, chosen.missing), level="vocabulary")
    codes, classes = encode_classes(labels, chosen.classes, chosen.missing)
    return LabelColumn(values=codes, classes=classes, level="vocabulary")


def _read_table(path: Path, column: str) -> list[tuple[str, str]]:
    """Gene (the first column) and label of each row of a table with a header, tab- or comma-separated."""
    rows = gene_rows(path)
    header = rows[0] if rows else []
    if column not in header[1:]:
        raise InputError(f"{path} has no column {column!r}; {nearest(column, header[1:] or ['none'])}")
    place = header.index(column)
    return [(row[0], row[place]) for row in rows[1:] if len(row) > place]
