"""What must not change the match of a gene, tried on random files."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from biolm.vocab.gene_names import ensembl_id
from biolm.vocab.genes import GeneVocabulary, gene_table
from biolm.vocab.match import GeneMatch

GENES = gene_table().species("human")
POOL = random.Random(0).sample(sorted(GENES.symbol), 3000)
IDS = GeneVocabulary.of(POOL[:1500])
SYMBOLS = GeneVocabulary.of(sorted({GENES.symbol[gene] for gene in POOL[:1500]}), species=("human",))
UNSURE = sorted(name for name, genes in GENES.ambiguous.items() if len(genes) > 1)[:200]
ALIASES = sorted(name for name, gene in GENES.aliases.items() if gene in set(POOL))

names = st.lists(
    st.one_of(
        st.sampled_from(POOL),
        st.sampled_from([GENES.symbol[gene] for gene in POOL]),
        st.sampled_from(ALIASES),
        st.sampled_from(UNSURE),
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8),
    ),
    min_size=1,
    max_size=60,
)
vocabularies = st.sampled_from([IDS, SYMBOLS])


def match(vocabulary: GeneVocabulary, genes: list[str]) -> GeneMatch:
    """A match that is not refused: the first gene is known."""
    first = vocabulary.genes[0]
    return vocabulary.match({"index": np.array([first, *genes], dtype=object)}, species="human", minimum=0.0)


@given(vocabularies, names, st.randoms(use_true_random=False))
def test_the_order_of_genes_does_not_matter(
    vocabulary: GeneVocabulary, genes: list[str], chance: random.Random
) -> None:
    order = list(range(len(genes)))
    chance.shuffle(order)
    plain, shuffled = match(vocabulary, genes), match(vocabulary, [genes[i] for i in order])
    assert shuffled.target[1:].tolist() == [plain.target[1 + i] for i in order]
    assert shuffled.report.summed == plain.report.summed
    assert sorted(shuffled.report.ambiguous) == sorted(plain.report.ambiguous)


@given(vocabularies, names, st.integers(1, 30))
def test_versions_and_genome_prefixes_do_not_matter(
    vocabulary: GeneVocabulary, genes: list[str], version: int
) -> None:
    decorated = [f"{gene}.{version}" if ensembl_id(gene) == gene else gene for gene in genes]
    plain = match(vocabulary, genes)
    assert np.array_equal(match(vocabulary, decorated).target, plain.target)
    prefixed = [f"GRCh38_{gene}" if ensembl_id(gene) or gene in GENES.ids else gene for gene in genes]
    assert np.array_equal(match(vocabulary, prefixed).target, plain.target)


@given(vocabularies, names)
def test_every_gene_is_counted_once_and_no_ambiguous_name_is_used(
    vocabulary: GeneVocabulary, genes: list[str]
) -> None:
    found = match(vocabulary, genes)
    report = found.report
    ways = report.exact + report.via_version + report.via_symbol + report.via_alias + report.via_case
    ways += report.via_rewritten
    assert ways == report.matched == (found.target >= 0).sum()
    assert report.total == len(genes) + 1 == report.matched + len(report.ambiguous) + len(report.missing)
    assert report.summed == report.matched - len(set(found.target[found.target >= 0].tolist()))
    unsure = np.isin([vocabulary.genes[0], *genes], UNSURE)
    assert np.all(found.target[unsure] == -1)


@given(names, st.data())
def test_a_larger_vocabulary_never_moves_a_gene_to_another(genes: list[str], data: st.DataObject) -> None:
    extra = data.draw(st.lists(st.sampled_from(POOL[1500:]), unique=True, max_size=200))
    larger = GeneVocabulary.of([*IDS.genes, *extra])
    few, many = match(IDS, genes).target, match(larger, genes).target
    found = (few >= 0) & (many >= 0)
    # A symbol of several ids may turn to its main gene when that becomes known; nothing else may move.
    moved = np.flatnonzero(found & (few != many))
    assert all(larger.genes[many[i]] in GENES.main or larger.genes[few[i]] in GENES.retired for i in moved)
