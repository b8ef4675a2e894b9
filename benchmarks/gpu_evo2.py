"""Speed of the shape of Evo 2 1B on a GPU: tokens a second and model FLOP utilisation, with torch alone.

    python benchmarks/gpu_evo2.py [--length 8192] [--peak 990] [--dtype bfloat16]

Random weights of the published shape. ``--peak`` is the accelerator's dense peak in TFLOP/s for the number
type (H100 and H200 in bfloat16: 990). FLOPs are two for each parameter of a matrix and token, the
attention's own products beside them; filters are not counted.
"""

from __future__ import annotations

import argparse
import json
import time

import torch

from biolm.batch import Batch
from biolm.core import CoreConfig, Transformer

RHYTHM = "SMLASMLSMLASMLSMLASMLSMLA"
NAMES = {
    "S": "hyena_short", "M": "hyena_medium", "L": "hyena_long", "A": "attention_stored_rope",
}  # fmt: skip


def shape_of_1b() -> CoreConfig:
    """evo2_1b_base."""
    groups = {"groups": 128}
    return CoreConfig(
        vocab_size=512, d_model=1920, n_layers=25, n_heads=15, d_ff=5120, max_length=8192, position="none",
        causal=True, norm="rmsnorm", norm_eps=1e-6, norm_eps_outside=True, glu=True, mlp_bias=False,
        mlp_out_bias=False, activation="identity", first_activation="gelu", qkv_bias=False, head="linear",
        mixer=tuple(NAMES[kind] for kind in RHYTHM),
        mixer_options={"hyena_short": groups, "hyena_medium": groups},
    )  # fmt: skip


def flops(model: Transformer, length: int) -> float:
    """Of one forward pass, for each token."""
    config = model.config
    matrices = sum(p.numel() for n, p in model.named_parameters() if p.dim() == 2 and "filter" not in n)
    attention = sum(config.layer_mixer(layer).startswith("attention") for layer in range(config.n_layers))
    return 2.0 * matrices + attention * 2.0 * length * config.d_model


@torch.inference_mode()
def main() -> None:
    """Time passes over whole sequences, then single steps."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--length", type=int, default=8192)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--peak", type=float, default=990.0)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--device", default="cuda")
    chosen = parser.parse_args()
    dtype = getattr(torch, chosen.dtype)
    with torch.device(chosen.device):
        model = Transformer(shape_of_1b()).to(dtype).eval()
    ids = torch.randint(65, 85, (chosen.batch, chosen.length), device=chosen.device)
    batch = Batch.from_padded(ids)

    def wait() -> None:
        if chosen.device.startswith("cuda"):
            torch.cuda.synchronize()

    model(batch, logits=False)
    wait()
    began = time.perf_counter()
    passes = 5
    for _ in range(passes):
        model(batch, logits=False)
    wait()
    rate = passes * ids.numel() / (time.perf_counter() - began)
    cache = model.new_cache()
    names = list(range(8))
    model(cache.batch(names, [[65] * 512] * 8), logits=False, cache=cache)
    began = time.perf_counter()
    for _ in range(64):
        model(cache.batch(cache.sequences, [[67]] * 8), cache=cache)
    wait()
    result = {
        "parameters": model.n_parameters,
        "length": chosen.length,
        "tokens_per_second": round(rate),
        "mfu": round(rate * flops(model, chosen.length) / (chosen.peak * 1e12), 4),
        "decode_tokens_per_second_of_8": round(8 * 64 / (time.perf_counter() - began), 1),
        "state_mib_of_8": round(cache.nbytes / 2**20, 1),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
