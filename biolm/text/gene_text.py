"""Genes as vectors of what is written about them, in the form that ``biolm embed`` reads; cells as sentences.

Dimensions: ``m`` genes · ``d`` width.

The idea is that of GenePT (Chen and Zou 2023): a gene is the vector of its description, a cell the weighted
mean of its genes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from biolm.errors import InputError
from biolm.io.atomic import replacing
from biolm.io.damage import damage_named
from biolm.io.text.source import lines_of
from biolm.text.embed import TextEncoder, embed_texts

__all__ = ["cell_sentences", "gene_vectors", "read_gene_texts", "write_gene_vectors"]


@damage_named()
def read_gene_texts(path: Path) -> dict[str, str]:
    """Texts of genes: a table of Ensembl id or symbol, and text; rows of one gene are joined.

    Raises
    ------
    InputError
        If a row has no text.
    """
    by_gene: dict[str, list[str]] = {}
    for number, line in lines_of(path):
        name, tab, text = line.partition("\t")
        if not line.strip():
            continue
        if not tab or not text.strip():
            raise InputError(f"{path}, line {number} has no text; a row is a gene, a tab and its text")
        by_gene.setdefault(name.strip(), []).append(text.strip().replace("\t", " "))
    return {name: " ".join(texts) for name, texts in by_gene.items()}


def gene_vectors(
    texts: Mapping[str, str], encoder: TextEncoder, *, species: str = "human"
) -> tuple[list[str], NDArray[np.float32]]:
    """Ensembl ids and their vectors ``(m, d)``.

    Parameters
    ----------
    texts
        Text of each gene, by Ensembl id or current symbol.
    encoder
        Any encoder of texts. A symbol alone says little: it is cut into pieces that mean nothing.
    species
        ``human``: the table of vectors is one of human genes, mouse genes follow by orthology.

    Raises
    ------
    InputError
        If no gene is known.
    """
    from biolm.vocab.gene_table import gene_table

    known = gene_table().species(species).ids
    rows: dict[str, str] = {}
    for name, text in texts.items():
        ids = (name,) if re.fullmatch(r"ENSG\d{11}", name) else known.get(name, ())
        # A symbol of several genes is given to the first alone, not spread over all.
        for ensembl in ids[:1]:
            rows.setdefault(ensembl, text)
    if not rows:
        raise InputError("none of the genes is known; name them by Ensembl id or current symbol")
    ids_sorted = sorted(rows)
    return ids_sorted, embed_texts(encoder, [rows[name] for name in ids_sorted])


def write_gene_vectors(
    genes: Sequence[str],
    vectors: NDArray[np.floating],
    folder: Path,
    about: Mapping[str, str],
    *,
    overwrite: bool = False,
) -> None:
    """Write a folder that ``biolm embed --model`` reads, mouse genes as the means of their human orthologs.

    Parameters
    ----------
    genes
        Ensembl ids of human genes.
    vectors
        ``(m, d)``.
    folder
        To write.
    about
        What the vectors were made of.
    overwrite
        Replace an existing folder.
    """
    from safetensors.numpy import save

    from biolm.vocab.gene_table import gene_table

    row_of = {name: row for row, name in enumerate(genes)}
    mouse: dict[str, list[int]] = {}
    for human, other, _ in gene_table().orthologs():
        # A mouse gene with several human orthologs is their mean.
        if human in row_of and re.fullmatch(r"ENSMUSG\d{11}", other):
            mouse.setdefault(other, []).append(row_of[human])
    names = sorted(mouse)
    offsets = np.concatenate([[0], np.cumsum([len(mouse[name]) for name in names])])
    tensors: dict[str, NDArray[Any]] = {
        "human": np.array([int(name[4:]) for name in genes], np.int64),
        "vectors": np.ascontiguousarray(vectors, np.float32),
        "factors": np.ones(len(genes), np.float32),
        "mouse": np.array([int(name[7:]) for name in names], np.int64),
        "mouse_offsets": offsets.astype(np.int32),
        "mouse_weights": np.concatenate(
            [np.full(len(mouse[name]), 1 / len(mouse[name])) for name in names]
        ).astype(np.float32)
        if names
        else np.zeros(0, np.float32),
        "mouse_rows": np.array([row for name in names for row in mouse[name]], np.int32),
    }
    with replacing(folder, overwrite=overwrite) as target:
        target.mkdir()
        content = save(tensors, {"about": json.dumps(dict(about))})
        (target / "genetext.safetensors").write_bytes(content)


def cell_sentences(
    counts: ArrayLike, names: Sequence[str], *, most: int = 30, about: Mapping[str, str] | None = None
) -> list[str]:
    """CELLama's sentence of each cell, of expressed genes alone; empty for a cell that expresses none.

    The published code fills up with genes that are not expressed; a short list says more.

    Parameters
    ----------
    counts
        ``(n, g)`` cells by genes.
    names
        ``g`` names.
    most
        Genes of a sentence.
    about
        What else is said of the cells.

    Examples
    --------
    >>> cell_sentences([[0, 3, 1], [0, 0, 0]], ["A", "B", "C"])
    ['Top genes are B, and C.', '']
    """
    from biolm.adapters.cells.sentence import cell_sentence

    sentences = []
    for row in np.asarray(counts):
        # Ties by the order of the genes, so that a sentence is the same everywhere.
        order = np.argsort(-row, kind="stable")[:most]
        kept = [names[gene] for gene in order if row[gene] > 0]
        sentences.append(cell_sentence(kept, about) if kept else "")
    return sentences
