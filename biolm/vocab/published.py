"""Genes found as a published system finds them: by one column, as written, and nothing resolved.

Dimensions: ``g`` gene columns of the file · ``m`` genes of the vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biolm.errors import GeneMatchError, InputError
from biolm.vocab.gene_names import is_blank
from biolm.vocab.genes import GeneVocabulary
from biolm.vocab.match import GeneMatch, MatchReport

__all__ = ["PublishedRule", "published_match"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRule:
    """How a published tokeniser looks up the genes of a file.

    Parameters
    ----------
    system
        Names it in messages.
    column
        The ``var`` column that it reads.
    rewrite
        What is done first to names, those of the file and of the vocabulary: ``str.upper`` and the like.
    mapping
        Reads a table of other ids to the vocabulary's, through which every name must go.
    sums
        Whether rows of one gene are added up; else each becomes a token of its own, which is refused here.
    any_name
        Whether every name is read as it stands, in a sentence, and none is looked up.
    """

    system: str
    column: str
    rewrite: Callable[[str], str] = str
    mapping: Callable[[], Mapping[str, str]] | None = None
    sums: bool = False
    any_name: bool = False


def published_match(
    vocabulary: GeneVocabulary,
    rule: PublishedRule,
    columns: Mapping[str, NDArray[np.str_]],
    *,
    column: str | None = None,
    minimum: float = 0.1,
) -> GeneMatch:
    """Find genes as the published tokeniser does.

    Parameters
    ----------
    vocabulary, rule
        The system's genes and its rule.
    columns
        Text columns ``(g,)`` of the file.
    column
        Column to read in place of the system's own.
    minimum
        Least fraction of matched genes over the smaller of file and vocabulary.

    Returns
    -------
    Rows of the vocabulary ``(g,)``; the report counts every one as exact.

    Raises
    ------
    InputError
        If the file lacks the column, or names a gene twice where the system adds nothing up.
    GeneMatchError
        If too few genes are found.

    Examples
    --------
    >>> vocabulary = GeneVocabulary.of(["ENSG00000167286", "ENSG00000156738"])
    >>> rule = PublishedRule(system="Geneformer V1", column="ensembl_id")
    >>> names = np.array(["ENSG00000156738", "ENSG00000167286.10", "CD3D"])
    >>> published_match(vocabulary, rule, {"ensembl_id": names}).target
    array([ 1, -1, -1], dtype=int32)
    """
    used = column or rule.column
    if used not in columns:
        raise InputError(
            f"there is no gene column {used!r}, which {rule.system} reads, but {', '.join(columns)}; name "
            "one (`gene_column`), or let names be resolved (`match='resolve'`)"
        )
    written = columns[used].astype(str).tolist()
    names = [rule.rewrite(name) for name in written]
    if rule.mapping is not None:
        table = rule.mapping()
        names = [table.get(name, "") for name in names]
    genes = tuple(names) if rule.any_name else vocabulary.genes
    own = genes if rule.mapping is not None else tuple(rule.rewrite(gene) for gene in genes)
    rows = {gene: row for row, gene in enumerate(own) if not is_blank(gene)}
    target = np.array([rows.get(name, -1) for name in names], np.int32)
    known = target[target >= 0]
    unique = len(np.unique(known))
    if len(known) > unique and not rule.sums:
        twice = genes[Counter(known.tolist()).most_common(1)[0][0]]
        raise InputError(
            f"column {used!r} names {len(known) - unique} genes more than once, such as {twice}; "
            f"{rule.system} writes a token for each row: sum them first, or let names be resolved "
            "(`match='resolve'`)"
        )
    report = MatchReport(
        rule="published",
        column=used,
        species=vocabulary.species[0] if len(vocabulary.species) == 1 else "",
        total=len(names),
        matched=len(known),
        exact=len(known),
        via_version=0,
        via_symbol=0,
        via_alias=0,
        via_case=0,
        via_rewritten=0,
        ambiguous=(),
        missing=tuple(name for name, row in zip(written, target.tolist(), strict=True) if row < 0),
        summed=len(known) - unique,
        vocabulary_found=unique,
        vocabulary_total=len(genes),
    )
    if not unique or report.coverage < minimum:
        raise GeneMatchError(
            f"only {report.matched:,} of {report.total:,} genes (column {used!r}) are known to {rule.system} "
            "as written; name the right column (`gene_column`), or let names be resolved (`match='resolve'`)"
        )
    return GeneMatch(target, report, genes if rule.any_name else ())
