"""Mixed-length proteins on one CPU thread, ESM-2 shape: packed core against ``transformers`` SDPA padded.

Forward in random order and sorted by length, forward on equal lengths (nothing to gain from packing),
and a training step (forward and backward). Same weights and same result in both; ratios are of one run.

    python benchmarks/core_proteins.py [--rounds 3] [--proteins 32]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator

import numpy as np
import torch
from _measure import interleaved
from torch import Tensor

from biolm.batch import Batch, Tokens, pack
from biolm.core import Transformer
from biolm.models.families.hf import from_hf

PADDED_ROWS = 8
TOKEN_BUDGET = 4096


def proteins(n: int, seed: int = 0) -> Tokens:
    """Random residues at the lengths of UniProt proteins, at most 1,024.

    A log-normal fitted to 17,818 entries of all kingdoms: mean of the logarithm 5.76, deviation 0.86.
    """
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(5.76, 0.86, n), 30, 1024).astype(int)
    return fixed(lengths, rng)


def fixed(lengths: np.ndarray, rng: np.random.Generator) -> Tokens:
    """Random residues of given lengths."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = rng.integers(4, 24, offsets[-1]).astype(np.int32)
    return Tokens(ids=ids, offsets=offsets.astype(np.int64), index=np.arange(len(lengths)))


def padded(tokens: Tokens, order: np.ndarray) -> Iterator[tuple[Tensor, Tensor]]:
    """Padded batches of a fixed number of rows, as data collators make them."""
    for start in range(0, len(order), PADDED_ROWS):
        rows = order[start : start + PADDED_ROWS]
        longest = int(tokens.lengths[rows].max())
        ids = torch.ones(len(rows), longest, dtype=torch.long)
        for place, row in enumerate(rows):
            ids[place, : tokens.lengths[row]] = torch.from_numpy(tokens[int(row)].ids)
        yield ids, (ids != 1).long()


def models(layers: int) -> tuple[Transformer, torch.nn.Module]:
    """The core and the reference, with the same weights."""
    from transformers import EsmConfig, EsmForMaskedLM

    config = EsmConfig(
        vocab_size=33, hidden_size=480, num_hidden_layers=layers, num_attention_heads=20,
        intermediate_size=1920, max_position_embeddings=1026, position_embedding_type="rotary",
        token_dropout=True, mask_token_id=32, pad_token_id=1, emb_layer_norm_before=False,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        EsmForMaskedLM(config).save_pretrained(folder)
        return from_hf(folder), EsmForMaskedLM.from_pretrained(folder, attn_implementation="sdpa").eval()


def forward(core: Transformer, reference: torch.nn.Module, n: int, rounds: int) -> dict[str, float]:
    """Seconds for all proteins, each way."""
    tokens = proteins(n)
    shuffled, in_order = np.random.default_rng(1).permutation(n), np.argsort(tokens.lengths)
    equal = fixed(np.full(8, 512), np.random.default_rng(2))
    everything = {
        "packed": lambda: ours(core, tokens),
        "padded, random order": lambda: theirs(reference, tokens, shuffled),
        "padded, sorted": lambda: theirs(reference, tokens, in_order),
        "packed, equal lengths": lambda: ours(core, equal),
        "padded, equal lengths": lambda: theirs(reference, equal, np.arange(8)),
    }
    with torch.inference_mode():
        check(core, reference, tokens)
        seconds = interleaved(everything, rounds=rounds)
    return {
        "packed tokens/s": len(tokens.ids) / seconds["packed"],
        "times padded, random order": seconds["padded, random order"] / seconds["packed"],
        "times padded, sorted": seconds["padded, sorted"] / seconds["packed"],
        "times padded, equal lengths": seconds["padded, equal lengths"] / seconds["packed, equal lengths"],
    }


def ours(core: Transformer, tokens: Tokens) -> None:
    """Logits of every protein, packed to a token budget."""
    for rows in pack(tokens, TOKEN_BUDGET):
        core(Batch.from_tokens(tokens, rows))


def theirs(reference: torch.nn.Module, tokens: Tokens, order: np.ndarray) -> None:
    """Logits of every protein, padded."""
    for ids, mask in padded(tokens, order):
        reference(ids, attention_mask=mask)


def check(core: Transformer, reference: torch.nn.Module, tokens: Tokens) -> None:
    """Both must compute the same."""
    ids, mask = next(padded(tokens, np.arange(len(tokens))))
    wanted = reference(ids, attention_mask=mask).logits[mask.bool()]
    found = core(Batch.from_padded(ids, mask)).logits
    assert (found - wanted).abs().max() < 1e-3 * wanted.abs().max()


def training(core: Transformer, reference: torch.nn.Module, n: int, rounds: int) -> dict[str, float]:
    """Forward and backward of the masked-token loss on every position, so that both do the same work."""
    tokens = proteins(n, seed=3)
    shuffled = np.random.default_rng(4).permutation(n)

    def packed() -> None:
        for rows in pack(tokens, TOKEN_BUDGET):
            batch = Batch.from_tokens(tokens, rows)
            torch.nn.functional.cross_entropy(core(batch).logits, batch.ids).backward()
        core.zero_grad()

    def reference_step() -> None:
        for ids, mask in padded(tokens, shuffled):
            labels = ids.masked_fill(mask == 0, -100)
            reference(ids, attention_mask=mask, labels=labels).loss.backward()
        reference.zero_grad()

    seconds = interleaved({"packed": packed, "padded": reference_step}, rounds=rounds)
    return {
        "packed tokens/s": len(tokens.ids) / seconds["packed"],
        "times padded": seconds["padded"] / seconds["packed"],
    }


def main() -> None:
    """Print the ratios as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--proteins", type=int, default=32)
    parser.add_argument("--layers", type=int, default=3)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    core, reference = models(chosen.layers)
    result = {
        "forward": forward(core, reference, chosen.proteins, chosen.rounds),
        "training step": training(core.train(), reference.train(), chosen.proteins // 2, chosen.rounds),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
