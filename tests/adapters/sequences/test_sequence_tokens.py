"""Sequences as tokens: ids of published tokenisers, round trips, letters without a token."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biolm.adapters.sequences import NAMES, Tally, check_kind, looks_like, make_tokenizer, read_bpe
from biolm.adapters.sequences.base import SequenceTokenizer
from biolm.errors import CheckpointError, ConfigError, InputError
from biolm.io.sequences import SequenceBlock, open_sequences

RESIDUES = "LAGVSERTIDPKQNFYMHWC"
PROTEINS = ("esm", "esmc", "protbert", "prott5", "progen2", "amplify")


def ids(tokenizer: SequenceTokenizer, text: str) -> list[int]:
    return tokenizer.tokenize(SequenceBlock.of([text])).ids.tolist()


@pytest.fixture(scope="module")
def tokenizer_json(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Byte pairs over bases with GENA-LM's special tokens."""
    from tokenizers import Tokenizer, models, processors, trainers

    made = Tokenizer(models.BPE(unk_token="[UNK]"))
    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]", "-"]
    trainer = trainers.BpeTrainer(
        vocab_size=200, special_tokens=special, show_progress=False, initial_alphabet=list("ACGTN")
    )
    draws = np.random.default_rng(0)
    texts = ["".join(draws.choice(list("ACGT"), 300)) for _ in range(20)]
    made.train_from_iterator(texts, trainer)
    ends = [(name, made.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    path = tmp_path_factory.mktemp("bpe") / "tokenizer.json"
    made.save(str(path))
    return path


@given(
    st.lists(st.text(RESIDUES, min_size=1, max_size=30), min_size=1, max_size=5), st.sampled_from(PROTEINS)
)
def test_proteins_come_back(texts: list[str], name: str) -> None:
    tokenizer = make_tokenizer(name)
    block = SequenceBlock.of(texts)
    tokens = tokenizer.tokenize(block)
    assert [tokenizer.decode(tokens[row].ids) for row in range(len(texts))] == texts
    assert tokens.ids.max() < tokenizer.size
    check_spans(tokenizer, block)


@given(
    st.lists(st.text("ACGTN", min_size=1, max_size=40), min_size=1, max_size=5),
    st.sampled_from(["nt-v1", "nt-v2", "base", "dna"]),
)
def test_dna_comes_back(texts: list[str], name: str) -> None:
    tokenizer = make_tokenizer(name)
    tokens = tokenizer.tokenize(SequenceBlock.of(texts))
    assert [tokenizer.decode(tokens[row].ids) for row in range(len(texts))] == texts
    check_spans(tokenizer, SequenceBlock.of(texts))


@given(st.lists(st.text("ACGT", min_size=3, max_size=40), min_size=1, max_size=5))
def test_overlapping_kmers_come_back(texts: list[str]) -> None:
    tokenizer = make_tokenizer("dnabert-3")
    tokens = tokenizer.tokenize(SequenceBlock.of(texts))
    assert tokens.lengths.tolist() == [len(text) - 2 + 2 for text in texts]
    assert [tokenizer.decode(tokens[row].ids) for row in range(len(texts))] == texts
    names = list(tokenizer.vocabulary)
    assert [names[token] for token in tokens[0].ids[1:-1]] == [
        texts[0][at : at + 3] for at in range(len(texts[0]) - 2)
    ]


def check_spans(tokenizer: SequenceTokenizer, block: SequenceBlock) -> None:
    """Tokens span all letters of their record once, in order."""
    tokens = tokenizer.tokenize(block)
    spans = tokenizer.spans(block, tokens)
    before, after = len(tokenizer.special.prefix), len(tokenizer.special.suffix)
    for row, length in enumerate(block.lengths.tolist()):
        part = spans[tokens.offsets[row] : tokens.offsets[row + 1]].tolist()
        inner = part[before : len(part) - after]
        assert [start for start, _ in inner] == [0, *(end for _, end in inner[:-1])]
        assert inner[-1][1] == length
        assert part[:before] == [[0, 0]] * before
        assert part[len(part) - after :] == [[length, length]] * after


def test_ids_are_those_of_esm_in_transformers(tmp_path: Path, shared: Path) -> None:
    from transformers import EsmTokenizer

    tokenizer = make_tokenizer("esm")
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(tokenizer.vocabulary))
    theirs = EsmTokenizer(str(vocabulary))
    with open_sequences(shared / "data" / "sequences" / "proteins" / "uniprot_mmseqs2.fasta.gz") as source:
        block = next(source.blocks(records=40))
    ours = tokenizer.tokenize(block)
    for row in range(len(block)):
        assert ours[row].ids.tolist() == theirs(block.text(row))["input_ids"]
    odd = "MXBUZO.-L"
    assert ids(tokenizer, odd) == theirs(odd)["input_ids"]


def test_ids_are_those_of_protbert_in_transformers(tmp_path: Path) -> None:
    from transformers import BertTokenizer

    tokenizer = make_tokenizer("protbert")
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(tokenizer.vocabulary))
    theirs = BertTokenizer(str(vocabulary), do_lower_case=False)
    text = RESIDUES + "X"
    assert ids(tokenizer, text) == theirs(" ".join(text))["input_ids"]
    # U, Z, O and B are read as X, as the model's makers do before they tokenise.
    assert ids(tokenizer, "UZOB")[1:-1] == [tokenizer.vocabulary["X"]] * 4


def test_ids_are_those_of_nt_in_transformers(tmp_path: Path) -> None:
    from transformers import EsmTokenizer

    tokenizer = make_tokenizer("nt-v2")
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(tokenizer.vocabulary))
    theirs = EsmTokenizer(str(vocabulary), eos_token=None)
    for text in ("ATCGAATGGCGATGCACTT", "ATCGAATNGGCGATGCAC", "NNA", "ACGTACNACGTACGTACGTAC"):
        assert ids(tokenizer, text) == theirs(text)["input_ids"]


def test_published_ids() -> None:
    assert ids(make_tokenizer("prott5"), "AUX") == [3, 23, 23, 1]
    assert ids(make_tokenizer("progen2"), "AZ") == [3, 5, 29, 4]
    assert ids(make_tokenizer("amplify"), "LC") == [3, 6, 25, 4]
    assert ids(make_tokenizer("byte"), "Ac") == [65, 99]
    assert (make_tokenizer("nt-v1").size, make_tokenizer("nt-v2").size) == (4105, 4107)
    assert (make_tokenizer("esm").size, make_tokenizer("esmc").size, make_tokenizer("byte").size) == (
        33,
        64,
        512,
    )
    assert ids(make_tokenizer("nt-v1"), "AAAAAT") == [3, 5]


@pytest.mark.parametrize("name", [*NAMES])
def test_settings_make_the_same_again(name: str) -> None:
    tokenizer = make_tokenizer(name)
    again = make_tokenizer(tokenizer.settings())
    assert (again.size, again.special, again.kind) == (tokenizer.size, tokenizer.special, tokenizer.kind)


def test_letters_without_a_token() -> None:
    tokenizer, block = make_tokenizer("esm"), SequenceBlock.of(["MKV", "mJ*J", "A"], start=5)
    tally = Tally()
    tokens = tokenizer.tokenize(block, tally=tally)
    assert tokens[1].ids.tolist() == [0, 20, 3, 3, 3, 2]
    assert tally.sentence() == (
        "1 records hold residues or bases that the model does not know ('J' 2, '*' 1); read as unknown"
    )
    skipped = Tally()
    tokens = tokenizer.tokenize(block, policy="skip", tally=skipped)
    assert tokens.index.tolist() == [5, 7]
    assert (skipped.skipped, skipped.sentence()[-10:]) == (1, "1 left out")
    with pytest.raises(InputError, match="letter 'J' at place 2 of record '7'"):
        tokenizer.tokenize(block, policy="error")


def test_byte_pairs(tokenizer_json: Path) -> None:
    from tokenizers import Tokenizer

    tokenizer = read_bpe(tokenizer_json, gap_runs=10)
    theirs = Tokenizer.from_file(str(tokenizer_json))
    text = "ACGTTGCATTTGGACCCATG" * 3
    assert ids(tokenizer, text) == theirs.encode(text).ids
    assert ids(tokenizer, text.lower()) == theirs.encode(text).ids
    block = SequenceBlock.of(["ACGT" + "N" * 25 + "TTGA", "ACRT", text])
    tokens = tokenizer.tokenize(block)
    assert tokenizer.vocabulary["-"] in tokens[0].ids
    assert tokenizer.special.unknown in tokens[1].ids
    check_spans(tokenizer, block)
    again = make_tokenizer(tokenizer.settings())
    assert np.array_equal(again.tokenize(block).ids, tokens.ids)


def test_windows_with_an_edge_are_tokens_of_the_whole(tokenizer_json: Path) -> None:
    tokenizer = read_bpe(tokenizer_json, edge=100)
    draws = np.random.default_rng(1)
    text = "".join(draws.choice(list("ACGT"), 1500))
    starts = np.arange(0, 1500, 250)
    left, right = np.minimum(starts, 100), np.minimum(1250 - starts, 100)
    pieces = [text[at - a : at + 250 + b] for at, a, b in zip(starts, left, right, strict=True)]
    parts = tokenizer.inner(SequenceBlock.of(pieces), left, right)
    inner = np.concatenate([parts[row].ids[1:-1] for row in range(len(parts))])
    assert np.array_equal(inner, tokenizer.tokenize(SequenceBlock.of([text])).ids[1:-1])


def test_impossible_tokenisers(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no tokeniser 'esm3'"):
        make_tokenizer("esm3")
    with pytest.raises(ConfigError, match="no setting 'words'"):
        make_tokenizer({"family": "kmers", "words": 3})
    with pytest.raises(ConfigError, match="k must be 2 to 10"):
        make_tokenizer({"family": "kmers", "k": 11})
    with pytest.raises(CheckpointError, match=r"is no tokenizer\.json"):
        read_bpe(tmp_path)


def test_kinds_are_told_apart(shared: Path) -> None:
    folder = shared / "data" / "sequences"
    found = {}
    for name in (
        "proteins/uniprot_mmseqs2.fasta.gz",
        "dna/lambda_phage.fa.gz",
        "dna/mirbase_hairpin_hsa_mmu.fa.gz",
    ):
        with open_sequences(folder / name) as source:
            block = next(source.blocks(records=50))
        found[name] = (looks_like(block), block)
    assert [kind for kind, _ in found.values()] == ["protein", "dna", "rna"]
    assert looks_like(SequenceBlock.of(["ACGT"])) == "unknown"
    protein, dna = (block for _, block in list(found.values())[:2])
    check_kind(protein, "protein", name="a.fa")
    check_kind(dna, "text", name="a.fa")
    with pytest.raises(InputError, match=r"a\.fa holds protein sequences but the model reads DNA"):
        check_kind(protein, "dna", name="a.fa")
    with pytest.raises(InputError, match=r"a\.fa holds DNA sequences but the model reads protein"):
        check_kind(dna, "protein", name="a.fa")
