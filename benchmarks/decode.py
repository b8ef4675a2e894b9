"""Tokens a second of greedy decoding against transformers, and memory of windowed layers.

Both sides get the same random model and prompts in one process with one thread; CPU time, not wall time.
transformers reads the ragged batch left-padded, which is its only way.

    python benchmarks/decode.py [--tokens 64] [--repeats 5]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging

from biolm.core import Transformer
from biolm.core.cache import KeyValueCache
from biolm.core.generate import generate
from biolm.core.sampling import SamplingOptions
from biolm.models.families.hf import from_hf

VOCABULARY = 1000
_NO_ENDS = {"vocab_size": VOCABULARY, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
_LLAMA = {**_NO_ENDS, "max_position_embeddings": 4096}
MODELS = {
    "tiny gpt2": ("gpt2", {**_NO_ENDS, "n_embd": 64, "n_layer": 4, "n_head": 4}),
    "tiny llama": (
        "llama",
        {**_LLAMA, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4}
        | {"num_attention_heads": 4, "num_key_value_heads": 2},
    ),
    "medium llama": (
        "llama",
        {**_LLAMA, "hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8}
        | {"num_attention_heads": 8, "num_key_value_heads": 4},
    ),
    "medium mistral": (
        "mistral",
        {**_LLAMA, "hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8}
        | {"num_attention_heads": 8, "num_key_value_heads": 4, "sliding_window": 64},
    ),
}
LENGTHS = {"one prompt": [48], "8 ragged": [5, 120, 33, 64, 17, 90, 48, 11]}


def main() -> None:
    """Run every model on every batch."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    print(f"{'model':<16} {'batch':<12} {'biolm tok/s':>12} {'transformers':>13} {'ratio':>6}")
    for name in args.models:
        reference, ours = build(*MODELS[name])
        for batch, lengths in LENGTHS.items():
            generator = torch.Generator().manual_seed(0)
            prompts = [torch.randint(0, VOCABULARY, (n,), generator=generator).tolist() for n in lengths]
            mine, theirs = race(reference, ours, prompts, args.tokens, args.repeats)
            print(f"{name:<16} {batch:<12} {mine:>12.0f} {theirs:>13.0f} {mine / theirs:>6.2f}")
    memory(ours)


def build(model_type: str, settings: dict[str, object]) -> tuple[torch.nn.Module, Transformer]:
    """The same random model on both sides."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **settings)
    reference = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    with tempfile.TemporaryDirectory() as folder:
        reference.save_pretrained(folder)
        return reference, from_hf(folder)


def race(
    reference: torch.nn.Module, ours: Transformer, prompts: list[list[int]], tokens: int, repeats: int
) -> tuple[float, float]:
    """Median tokens a second of both, in turns."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    settings = {"do_sample": False, "max_new_tokens": tokens, "min_new_tokens": tokens, "pad_token_id": 0}

    def theirs() -> object:
        with torch.inference_mode():
            return reference.generate(ids, attention_mask=mask, **settings)

    def mine() -> object:
        return generate(ours, prompts, SamplingOptions(max_tokens=tokens))

    times: dict[str, list[float]] = {"mine": [], "theirs": []}
    for _ in range(repeats + 1):
        times["mine"].append(clock(mine))
        times["theirs"].append(clock(theirs))
    made = tokens * len(prompts)
    # The first round warms up both sides.
    return made / statistics.median(times["mine"][1:]), made / statistics.median(times["theirs"][1:])


def clock(run: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def memory(model: Transformer) -> None:
    """Bytes of the cache of a model with windows, as its text grows."""
    cache = KeyValueCache(model.config)
    print("\nmemory of the cache, window of", model.config.window)
    with torch.inference_mode():
        for total in (64, 128, 512, 1024):
            piece = [1] * (total - cache.lengths.get(0, 0))
            model(cache.batch([0], [piece]), logits=False, cache=cache)
            print(f"{total:>6} tokens {cache.nbytes / 1024:>8.0f} KiB")


if __name__ == "__main__":
    main()
