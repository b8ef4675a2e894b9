"""Masked marginals of real proteins: packed to a token budget beside one masked residue at a time.

Every residue of the first proteins of a file is masked in turn. Both sides run the same model of ESM-2's
shape (320 wide, 20 heads, random weights) on one thread and must agree. Times are of the CPU, taken in turn.

    python benchmarks/score_variants.py PROTEINS.fasta.gz
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from _measure import interleaved

from biolm.adapters.sequences import make_tokenizer
from biolm.core import CoreConfig, Transformer
from biolm.io.sequences import SequenceBlock, open_sequences
from biolm.models.sequence_model import SequenceModel, SequenceOptions
from biolm.models.sequence_preprocessor import SequencePreprocessor
from biolm.tasks.variants.likelihood import token_scores


def small_model(layers: int) -> SequenceModel:
    """ESM-2's shape with random weights."""
    torch.manual_seed(0)
    core = Transformer(
        CoreConfig(
            vocab_size=33, d_model=320, n_layers=layers, n_heads=20, d_ff=1280, position="rope", head="mlm",
            head_bias=True, token_dropout=True, mask_id=32, pad_id=1,
        )
    )  # fmt: skip
    preprocessor = SequencePreprocessor(name="esm", tokenizer=make_tokenizer("esm"), max_length=1024)
    return SequenceModel(preprocessor, core)


def compare(block: SequenceBlock, layers: int, rounds: int) -> dict[str, float]:
    """Hidden residues a CPU second, both ways."""
    model = small_model(layers)
    tokens = model.tokenize(block)
    found: dict[str, np.ndarray] = {}

    def score(name: str, budget: int) -> None:
        options = SequenceOptions(batch_tokens=budget, device="cpu")
        found[name] = token_scores(model, tokens, "pseudo-perplexity", options).values

    seconds = interleaved(
        {"packed": lambda: score("packed", 16_384), "alone": lambda: score("alone", 1)}, rounds=rounds
    )
    error = np.abs(found["packed"] - found["alone"]).max()
    assert error < 1e-3, error
    passes, read = int(block.lengths.sum()), int((block.lengths * tokens.lengths).sum())
    return {
        "proteins": len(block),
        "passes": passes,
        "passes/s packed": passes / seconds["packed"],
        "passes/s alone": passes / seconds["alone"],
        "tokens/s packed": read / seconds["packed"],
        "times alone": seconds["alone"] / seconds["packed"],
        "largest difference": float(error),
    }


def main() -> None:
    """Measure short and longer proteins."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("proteins", type=Path)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    with open_sequences(chosen.proteins) as source:
        block = next(source.blocks())
    for least, most, count in ((30, 80, 6), (150, 250, 2)):
        rows = np.flatnonzero((block.lengths >= least) & (block.lengths < most))[:count]
        print(json.dumps(compare(block.take(rows), chosen.layers, chosen.rounds)))


if __name__ == "__main__":
    main()
