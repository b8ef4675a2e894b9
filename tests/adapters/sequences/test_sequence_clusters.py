"""Clusters of similar sequences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from biolm.adapters.sequences import cluster_sequences, write_clusters
from biolm.errors import ConfigError
from biolm.io.sequences import SequenceBlock
from biolm.io.sequences.letters import reverse_complement
from biolm.training.data.groups import read_groups

RESIDUES = np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY", np.uint8)


def families(n: int, members: int, identity: float) -> SequenceBlock:
    """``n`` random proteins, each with variants whose letters are changed at random."""
    draws = np.random.default_rng(3)
    texts = []
    for _ in range(n):
        parent = draws.choice(RESIDUES, 300)
        for _ in range(members):
            changed = np.where(draws.random(300) < identity, parent, draws.choice(RESIDUES, 300))
            texts.append(changed.tobytes().decode())
    return SequenceBlock.of(texts)


def test_families_are_found_and_kept_apart() -> None:
    labels = cluster_sequences(families(20, 4, 0.9), identity=0.7)
    assert labels.tolist() == np.repeat(np.arange(20), 4).tolist()
    unrelated = cluster_sequences(families(30, 1, 1.0), identity=0.3)
    assert unrelated.tolist() == list(range(30))


def test_fragments_belong_to_the_whole_and_distant_ones_do_not() -> None:
    whole = families(1, 1, 1.0).text(0)
    block = SequenceBlock.of([whole, whole[40:120], families(2, 1, 1.0).text(1)])
    assert cluster_sequences(block).tolist() == [0, 0, 1]
    assert len(set(cluster_sequences(families(1, 3, 0.55), identity=0.9).tolist())) == 3


def test_either_strand_of_dna_counts() -> None:
    draws = np.random.default_rng(4)
    letters = draws.choice(np.frombuffer(b"ACGT", np.uint8), 400)
    other = draws.choice(np.frombuffer(b"ACGT", np.uint8), 400)
    block = SequenceBlock.of([x.tobytes().decode() for x in (letters, other, reverse_complement(letters))])
    assert cluster_sequences(block, identity=0.9).tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("n", "length", "weights"),
    [
        (120, 1000, (0.25, 0.25, 0.25, 0.25)),
        (120, 1000, (0.4, 0.1, 0.1, 0.4)),
        (40, 8000, (0.35, 0.15, 0.15, 0.35)),
        (1500, 150, (0.25, 0.25, 0.25, 0.25)),
    ],
)
@pytest.mark.parametrize("identity", [None, 0.5])
def test_chance_links_no_dna(n: int, length: int, weights: tuple[float, ...], identity: float | None) -> None:
    draws = np.random.default_rng(8)
    texts = [draws.choice(list("ACGT"), length, p=weights) for _ in range(n)]
    labels = cluster_sequences(SequenceBlock.of(["".join(text) for text in texts]), identity=identity)
    # The bound allows one record in a hundred.
    assert len(set(labels.tolist())) >= 0.99 * n


def test_windows_of_a_genome_are_clusters_of_their_own(shared: Path) -> None:
    path = shared / "data/awkward/sequences/g6k.fa"
    text = "".join(line for line in path.read_text().splitlines() if not line.startswith(">"))
    block = SequenceBlock.of([text[at : at + 250] for at in range(0, 6000, 250)])
    assert len(set(cluster_sequences(block).tolist())) == len(block)


@pytest.mark.parametrize(
    ("letters", "length", "identity", "least"),
    [
        ("ACDEFGHIKLMNPQRSTVWY", 300, 0.6, 0.85),
        ("ACDEFGHIKLMNPQRSTVWY", 300, 0.9, 0.9),
        ("ACGT", 1000, 0.75, 0.9),
        ("ACGT", 1000, 0.8, 0.9),
        ("ACGT", 300, 0.85, 0.9),
    ],
)
def test_pairs_as_identical_as_asked_for_share_a_cluster(
    letters: str, length: int, identity: float, least: float
) -> None:
    draws = np.random.default_rng(9)
    texts = []
    for _ in range(60):
        parent = draws.integers(0, len(letters), length)
        step = np.where(draws.random(length) < identity, 0, draws.integers(1, len(letters), length))
        both = (parent, (parent + step) % len(letters))
        texts += ["".join(np.array(list(letters))[codes]) for codes in both]
    labels = cluster_sequences(SequenceBlock.of(texts), identity=identity)
    assert np.mean(labels[::2] == labels[1::2]) >= least
    assert len(set(labels[::2].tolist())) == 60


def test_a_table_of_clusters_is_read_as_groups(tmp_path: Path) -> None:
    block = families(3, 2, 0.95)
    labels = cluster_sequences(block)
    path = tmp_path / "clusters.tsv"
    write_clusters(path, block, labels)
    assert path.read_text().splitlines()[1] == "1\t2"
    groups = read_groups(path, [*block.names, "alone"])
    assert len(set(groups.tolist())) == 4
    assert groups[0] == groups[1] != groups[2]


def test_out_of_range() -> None:
    with pytest.raises(ConfigError, match="identity must be"):
        cluster_sequences(SequenceBlock.of(["MKV"]), identity=0)
    with pytest.raises(ConfigError, match="k must be"):
        cluster_sequences(SequenceBlock.of(["MKV"]), k=30)
    assert cluster_sequences(SequenceBlock.of(["MKV", "A"])).tolist() == [0, 1]
