"""What to know of a published system of cells before fetching it: species, gene ids, input, licences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from biolm.models.hub import HUBS, where_to_get

__all__ = ["CARDS", "Card", "card_fields"]

_UNKNOWN = "not known to biolm; see their page"
_COUNTS, _ORDER = "raw counts", "counts or normalised values"


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What to know of one system of cells.

    Parameters
    ----------
    species
        Whose genes it knows, as far as its published weights go.
    genes
        Kind of gene id of its vocabulary; files may name genes otherwise.
    wants
        ``raw counts``, or ``counts or normalised values``.
    code
        Licence of the published code. biolm's own code is BSD-3-Clause throughout.
    weights
        Licence of the published weights, where biolm knows it; of those on the hub, the hub's entry says it.
    cannot
        What it does not do that one might expect of it.
    """

    species: tuple[str, ...]
    genes: str
    wants: str = _COUNTS
    code: str = "BSD-3-Clause"
    weights: str = _UNKNOWN
    cannot: str


_HUMAN, _BOTH = ("human",), ("human", "mouse")

CARDS: Mapping[str, Card] = {
    "genetext": Card(
        species=_BOTH, genes="Ensembl ids", weights="BSD-3-Clause", cannot="read genes without a description"
    ),
    "cellfactors": Card(
        species=_BOTH,
        genes="Ensembl ids",
        weights="BSD-3-Clause",
        cannot="be trained further by biolm pretrain",
    ),
    "cellama": Card(
        species=_BOTH,
        genes="any ids of its species, written as symbols",
        wants=_ORDER,
        code="Apache-2.0",
        weights="Apache-2.0",
        cannot="tell values apart that rank alike: the 30 highest genes are all that it reads",
    ),
    "biolm-cell-mini": Card(
        species=_HUMAN,
        genes="Ensembl ids",
        weights="BSD-3-Clause",
        cannot="match larger models where all genes are measured",
    ),
    "geneformer": Card(
        species=_HUMAN,
        genes="Ensembl ids",
        code="Apache-2.0",
        cannot="read more than 2,048 (V1) or 4,096 (V2) genes of a cell",
    ),
    "scgpt": Card(
        species=_HUMAN,
        genes="symbols",
        code="MIT",
        cannot="read more than 1,200 genes of a cell: of longer cells genes are drawn",
    ),
    "scfoundation": Card(
        species=_HUMAN,
        genes="symbols",
        code="Apache-2.0",
        weights="non-commercial research, a licence of their own",
        cannot="write the decoder's vectors of genes or denoised values by command",
    ),
    "scbert": Card(
        species=_HUMAN,
        genes="symbols",
        code="GPL-3.0",
        weights="not stated",
        cannot="give a published vector of a cell: there is none, and the mean over genes stands for it",
    ),
    "celllm": Card(
        species=_HUMAN,
        genes="symbols",
        code="MIT",
        cannot="tell low counts apart: under 1 after the logarithm they are all in bin 0",
    ),
    "nicheformer": Card(
        species=_BOTH,
        genes="Ensembl ids",
        code="BSD-3-Clause",
        cannot="read coordinates of cells, or the safetensors of the hub",
    ),
    "scimilarity": Card(
        species=_HUMAN,
        genes="symbols",
        code="Apache-2.0",
        weights="stated by Zenodo record 10685499",
        cannot="read files with fewer than 5,000 of its genes, or call types without labelled cells",
    ),
    "tgpt": Card(
        species=_HUMAN,
        genes="symbols",
        wants=_ORDER,
        code="GPL-3.0",
        cannot="read more than the 62 highest genes of a cell",
    ),
    "sctrans": Card(
        species=_BOTH,
        genes="symbols",
        wants=_ORDER,
        code="not stated",
        weights="none are published",
        cannot="read genes that its training data lacks",
    ),
    "scconcept": Card(
        species=_HUMAN,
        genes="Ensembl ids",
        code="MIT",
        cannot="read checkpoints with value encoding or a table of pretrained gene vectors",
    ),
    "uce": Card(
        species=(*_BOTH, "others of its files"),
        genes="symbols",
        code="MIT",
        cannot="read genes without a protein vector and a chromosome",
    ),
    "cellplm": Card(
        species=_HUMAN,
        genes="as its gene_list spells them, Ensembl ids in the published one",
        code="BSD-2-Clause",
        cannot="give a cell a vector of its own: it depends on the group of cells; nor claim "
        "recorded vectors for the group norms of the published encoder, which are inferred from its config",
    ),
    "transcriptformer": Card(
        species=(*_BOTH, "10 others"),
        genes="Ensembl ids",
        code="MIT",
        cannot="finish in bounded time on cells of thousands of genes without a GPU",
    ),
    "concerto": Card(
        species=_BOTH,
        genes="those of its training data",
        code="GPL-3.0",
        weights="none are published",
        cannot="claim recorded vectors: only its losses were recorded",
    ),
    "cell2sentence": Card(
        species=_BOTH,
        genes="any ids of its species, written as symbols",
        wants=_ORDER,
        code="Apache-2.0",
        cannot="claim recorded vectors: its model is held against transformers",
    ),
    "tahoe": Card(
        species=_HUMAN,
        genes="Ensembl ids",
        code="Apache-2.0",
        cannot="read the drug of a cell, claim recorded vectors, or predict expression",
    ),
    "scprint": Card(
        species=_BOTH,
        genes="Ensembl ids",
        code="MIT (release 2.2.0), GPL-3.0 (2.3.8)",
        cannot="claim recorded vectors, denoise, infer gene networks or call its classes",
    ),
}
"""One card for every registered system of cells."""


def card_fields(name: str) -> dict[str, object]:
    """Fields of ``biolm models --json`` beside name and files; None where a fact is not kept.

    Examples
    --------
    >>> card_fields("geneformer")["hub"], card_fields("geneformer")["licence_of_weights"]
    ('ctheodoris/Geneformer:Geneformer-V2-104M', 'Apache-2.0')
    """
    card, hub = CARDS.get(name), HUBS.get(name)
    return {
        "hub": hub.address if hub else None,
        "get": where_to_get(name) or None,
        "licence_of_code": card.code if card else None,
        "licence_of_weights": hub.licence if hub else card.weights if card else None,
        "commercial_use": hub.commercial if hub else None,
        "species": list(card.species) if card else None,
        "gene_ids": card.genes if card else None,
        "input": card.wants if card else None,
        "cannot": card.cannot if card else None,
    }
