"""One training step on one CPU thread: masked tokens, forward, backward and AdamW.

BERT of 6 layers of 256, 4 heads, feed-forward 512, vocabulary 25,000; 2 documents of 1,024 tokens. biolm runs
its head, and its last layer beyond keys and values, on the masked 15 % alone; ``transformers`` runs all of it
on all tokens, eager and with SDPA, and once more with SDPA and its head called by hand on the masked tokens.
Same weights, same fused AdamW and same loss in all; ratios are of one run, in CPU seconds.

``fraction of torch.mm`` is the rate of what biolm has to multiply, over that of a large matrix product.

    python benchmarks/train_step.py [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings

import torch
from _measure import encoder_flops, interleaved, mm_rate

from biolm.batch import Batch
from biolm.core import CoreConfig
from biolm.models.families.hf import from_hf
from biolm.objectives.base import Metadata
from biolm.objectives.registry import make

LENGTH, DOCUMENTS, MASK = 1024, 2, 4


def needed(config: CoreConfig, hidden: int) -> float:
    """Floating-point operations of biolm's step: three times the forward pass, its last layer on few rows."""
    lengths = [LENGTH] * DOCUMENTS
    tokens, width = sum(lengths), config.d_model
    layer = encoder_flops(config, lengths, layers=1)
    keys = 4.0 * tokens * width**2
    last = keys + (layer - keys) * hidden / tokens
    head = 2.0 * hidden * width * (width + config.vocab_size)
    return 3 * ((config.n_layers - 1) * layer + last + head)


def main() -> None:
    """Print seconds and ratios as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.filterwarnings("ignore")
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(
        vocab_size=25_000, hidden_size=256, num_hidden_layers=6, num_attention_heads=4, intermediate_size=512,
        max_position_embeddings=LENGTH, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        BertForMaskedLM(config).save_pretrained(folder)
        core = from_hf(folder).train()
        theirs = {
            kind: BertForMaskedLM.from_pretrained(folder, attn_implementation=kind).train()
            for kind in ("eager", "sdpa")
        }
    batch = Batch.from_padded(torch.randint(5, 25_000, (DOCUMENTS, LENGTH)))
    facts = Metadata(core=core.config, special_ids=tuple(range(5)), mask_id=MASK)
    objective = make("masked_tokens", facts)
    prepared = objective.prepare(batch, torch.arange(DOCUMENTS), 0, 0)
    labels = torch.full_like(batch.ids, -100)
    labels[prepared.rows] = prepared.targets
    padded = {"input_ids": prepared.batch.ids.view(DOCUMENTS, -1), "labels": labels.view(DOCUMENTS, -1)}
    models = {"biolm": core, **theirs, "sdpa, head on masked tokens": theirs["sdpa"]}
    optimisers = {name: torch.optim.AdamW(model.parameters(), fused=True) for name, model in models.items()}

    def loss(name: str) -> torch.Tensor:
        if name == "biolm":
            return objective.loss(core, prepared)[0]
        if name == "sdpa, head on masked tokens":
            model = theirs["sdpa"]
            states = model.bert(padded["input_ids"]).last_hidden_state.flatten(0, 1)[prepared.rows]
            return torch.nn.functional.cross_entropy(model.cls(states), prepared.targets)
        return theirs[name](**padded).loss

    def step(name: str) -> None:
        loss(name).backward()
        optimisers[name].step()
        optimisers[name].zero_grad()

    with torch.no_grad():
        losses = {name: float(loss(name)) for name in models}
    assert max(losses.values()) - min(losses.values()) < 1e-3, losses
    for name in models:
        step(name)
    seconds = interleaved({name: lambda name=name: step(name) for name in models}, rounds=rounds)
    result = {f"{name}: cells/s": DOCUMENTS / used for name, used in seconds.items()}
    for name in list(models)[1:]:
        result[f"times transformers {name}"] = seconds[name] / seconds["biolm"]
    result["fraction of torch.mm"] = needed(core.config, len(prepared.rows)) / seconds["biolm"] / mm_rate()
    print(json.dumps({"loss": losses, **result}, indent=2))


if __name__ == "__main__":
    main()
