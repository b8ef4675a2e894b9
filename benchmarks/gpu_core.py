"""The core on a GPU: model FLOPs utilisation of a 100 M encoder, packed, bf16, beside ``transformers``.

Forward and training step (forward, backward, AdamW) on documents of 200 to 2,048 tokens. The reference
is the same network from ``transformers`` with SDPA on padded batches, in the same run; without that
library only the core is measured. The core is also trained as it is pretrained, on 15 % masked tokens. Needs
torch alone.

    python benchmarks/gpu_core.py [--compile] [--documents 256] [--steps 10]

MFU counts the matrix products of the packed tokens (forward 1, step 3 times), over the peak that the
makers state for dense bf16 where the device is known, and over the rate of a large ``torch.mm``.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import torch
from _measure import encoder_flops
from torch import nn

from biolm.batch import Batch, Tokens, pack
from biolm.core import CoreConfig, Transformer
from biolm.objectives.base import Metadata
from biolm.objectives.registry import make

PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "B200": 2250e12}
PADDED_ROWS = 32
TOKEN_BUDGET = 65_536
CONFIG = CoreConfig(
    vocab_size=33, d_model=768, n_layers=14, n_heads=12, d_ff=3072, position="rope", max_length=2048,
    token_dropout=True, pad_id=1, mask_id=32, head="mlm", head_bias=True,
)  # fmt: skip


def documents(n: int) -> Tokens:
    """Random tokens, lengths uniform from 200 to 2,048."""
    rng = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(200, 2049, n))])
    ids = rng.integers(4, 24, offsets[-1]).astype(np.int32)
    return Tokens(ids=ids, offsets=offsets.astype(np.int64), index=np.arange(n))


def reference(device: str) -> nn.Module | None:
    """The same shape from ``transformers``; None where it is not installed."""
    if find_spec("transformers") is None:
        return None
    from transformers import EsmConfig, EsmForMaskedLM

    c = CONFIG
    config = EsmConfig(
        vocab_size=c.vocab_size, hidden_size=c.d_model, num_hidden_layers=c.n_layers,
        num_attention_heads=c.n_heads, intermediate_size=c.d_ff, max_position_embeddings=2050,
        position_embedding_type="rotary", token_dropout=True, mask_token_id=32, pad_token_id=1,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        EsmForMaskedLM(config).save_pretrained(folder)
        return EsmForMaskedLM.from_pretrained(folder, attn_implementation="sdpa").to(device)


def padded(tokens: Tokens, device: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Padded batches in random order."""
    order = np.random.default_rng(1).permutation(len(tokens))
    batches = []
    for start in range(0, len(order), PADDED_ROWS):
        rows = order[start : start + PADDED_ROWS]
        ids = torch.ones(len(rows), int(tokens.lengths[rows].max()), dtype=torch.long)
        for place, row in enumerate(rows):
            ids[place, : tokens.lengths[row]] = torch.from_numpy(tokens[int(row)].ids)
        batches.append((ids.to(device), (ids != 1).long().to(device)))
    return batches


def timed(work: Callable[[], None], steps: int, device: str) -> float:
    """Seconds of one pass over all documents: mean of ``steps`` after two to warm up."""
    wait = torch.cuda.synchronize if device == "cuda" else (lambda: None)
    for _ in range(2):
        work()
    wait()
    start = time.perf_counter()
    for _ in range(steps):
        work()
    wait()
    return (time.perf_counter() - start) / steps


def passes(
    model: nn.Module, losses: list[Callable[[], torch.Tensor]], steps: int, device: str
) -> tuple[float, float, float]:
    """Seconds of a forward pass and of a training pass over all batches, and peak memory in GiB."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def forward() -> None:
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16):
            for loss in losses:
                loss()

    def train() -> None:
        for loss in losses:
            with torch.autocast(device, torch.bfloat16):
                value = loss()
            value.backward()
            optimiser.step()
            optimiser.zero_grad()

    model.eval()
    seconds = timed(forward, steps, device)
    model.train()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    training = timed(train, steps, device)
    memory = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else 0.0
    return seconds, training, memory


def cross_entropy(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Masked-token loss on every position, so that both sides do the same work."""
    return nn.functional.cross_entropy(logits.float(), ids)


def measure_core(tokens: Tokens, chosen: argparse.Namespace) -> tuple[float, float, float]:
    """The core on packed batches."""
    core = Transformer(CONFIG).to(chosen.device)
    if chosen.compile:
        core.compile_layers()
    batches = [Batch.from_tokens(tokens, rows).to(chosen.device) for rows in pack(tokens, TOKEN_BUDGET)]
    losses = [lambda b=batch: cross_entropy(core(b).logits, b.ids) for batch in batches]
    return passes(core, losses, chosen.steps, chosen.device)


def measure_masked(tokens: Tokens, chosen: argparse.Namespace) -> tuple[float, float, float]:
    """The core as it is pretrained: head and last layer, beyond keys and values, on 15 % of the tokens."""
    core = Transformer(CONFIG).to(chosen.device)
    if chosen.compile:
        core.compile_layers()
    objective = make("masked_tokens", Metadata(core=CONFIG, special_ids=(0, 1, 2, 32), mask_id=32))
    prepared = [
        objective.prepare(Batch.from_tokens(tokens, rows), torch.from_numpy(rows), 0, 0).to(chosen.device)
        for rows in pack(tokens, TOKEN_BUDGET)
    ]
    losses = [lambda p=each: objective.loss(core, p)[0] for each in prepared]
    return passes(core, losses, chosen.steps, chosen.device)


def measure_reference(tokens: Tokens, chosen: argparse.Namespace) -> tuple[float, float, float] | None:
    """The reference on padded batches; None where it is not installed."""
    model = reference(chosen.device)
    if model is None:
        return None
    losses = [
        lambda i=ids, m=mask: model(i, attention_mask=m, labels=i.masked_fill(m == 0, -100)).loss
        for ids, mask in padded(tokens, chosen.device)
    ]
    return passes(model, losses, chosen.steps, chosen.device)


def main() -> None:
    """Print figures, device and date as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compile", action="store_true", help="compile the layers")
    parser.add_argument("--documents", type=int, default=256)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--device", default="cuda", help="'cpu' only shows that the script runs")
    chosen = parser.parse_args()
    if chosen.device == "cuda" and not torch.cuda.is_available():
        parser.error("this benchmark needs a CUDA device")
    torch.manual_seed(0)
    tokens = documents(chosen.documents)
    name = torch.cuda.get_device_name() if chosen.device == "cuda" else "cpu"
    mm = mm_rate(chosen.device)
    peak = next((rate for key, rate in PEAKS.items() if key in name), None)
    work = encoder_flops(CONFIG, tokens.lengths.tolist())
    result: dict[str, object] = {
        "device": name,
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "torch": torch.__version__,
        "tokens": len(tokens.ids),
        "torch.mm TFLOP/s": mm / 1e12,
        "biolm": report(measure_core(tokens, chosen), work, len(tokens.ids), mm, peak),
    }
    _, seconds, memory = measure_masked(tokens, chosen)
    result["biolm, 15 % masked"] = {
        "training tokens/s": len(tokens.ids) / seconds,
        "training peak GiB": memory,
    }
    if (theirs := measure_reference(tokens, chosen)) is not None:
        result["transformers sdpa"] = report(theirs, work, len(tokens.ids), mm, peak)
    print(json.dumps(result, indent=2))


def mm_rate(device: str) -> float:
    """Floating-point operations a second of a large bf16 matrix product."""
    size = 8192 if device == "cuda" else 512
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16)

    def run() -> None:
        torch.mm(a, a)

    return 2 * size**3 / timed(run, 20, device)


def report(
    measured: tuple[float, float, float], work: float, tokens: int, mm: float, peak: float | None
) -> dict[str, float]:
    """Tokens a second, MFU and memory."""
    forward, train, memory = measured
    out = {
        "forward tokens/s": tokens / forward,
        "training tokens/s": tokens / train,
        "training peak GiB": memory,
        "forward fraction of torch.mm": work / forward / mm,
        "training fraction of torch.mm": 3 * work / train / mm,
    }
    if peak is not None:
        out |= {"forward MFU": work / forward / peak, "training MFU": 3 * work / train / peak}
    return out


if __name__ == "__main__":
    main()
