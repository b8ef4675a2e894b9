"""Clusters of similar sequences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from biolm.adapters.sequences import cluster_sequences, write_clusters
from biolm.errors import ConfigError
from biolm.io.sequences import SequenceBlock
from biolm.io.sequences.letters import reverse_complement
from biolm.training.sequence_job import read_groups

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
