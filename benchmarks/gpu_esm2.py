"""ESM-2 650M's shape on a GPU: tokens a second, MFU and memory, packed beside ``transformers`` SDPA padded.

33 layers of 1,280 in 20 heads, random weights, bf16 autocast, forward to the last hidden states: what
embedding proteins takes. Lengths are those of UniProt proteins, at most 1,024 tokens. Both sides have the
same weights and read the same tokens; the reference pads 32 documents at a time in random order. Needs torch
alone; without ``transformers`` only the core is measured.

    python benchmarks/gpu_esm2.py [--compile] [--documents 1024] [--steps 5]
    python benchmarks/gpu_esm2.py --device cpu --tiny

Tokens are real ones: padding counts for neither side, in speed or in MFU.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch
from _measure import encoder_flops
from core_proteins import proteins
from gpu_core import PEAKS, mm_rate, padded, timed
from torch import Tensor, nn

from biolm.batch import Batch, Tokens, pack
from biolm.core import Transformer
from biolm.models.families.hf import family, from_hf

TOKEN_BUDGET = 65_536
SHAPE = {"hidden_size": 1280, "num_hidden_layers": 33, "num_attention_heads": 20, "intermediate_size": 5120}
TINY = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256}
ESM2 = {
    "model_type": "esm", "architectures": ["EsmForMaskedLM"], "vocab_size": 33, "token_dropout": True,
    "max_position_embeddings": 1026, "position_embedding_type": "rotary", "mask_token_id": 32,
    "pad_token_id": 1, "emb_layer_norm_before": False, "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0, "layer_norm_eps": 1e-5,
}  # fmt: skip


def models(shape: dict[str, int]) -> tuple[Transformer, nn.Module | None]:
    """The core and the reference with the same weights; no reference where ``transformers`` is missing."""
    if find_spec("transformers") is None:
        return Transformer(family("esm").core_config({**ESM2, **shape})).eval(), None
    from transformers import EsmConfig, EsmForMaskedLM

    given = {name: value for name, value in ESM2.items() if name not in ("model_type", "architectures")}
    with tempfile.TemporaryDirectory() as folder:
        EsmForMaskedLM(EsmConfig(**given, **shape)).save_pretrained(Path(folder))
        reference = EsmForMaskedLM.from_pretrained(folder, attn_implementation="sdpa")
        return from_hf(folder).eval(), reference.esm.eval()


def measure(work: Callable[[], Tensor], model: nn.Module, chosen: argparse.Namespace) -> dict[str, float]:
    """Seconds of one pass over all documents, and peak memory above nothing but this model."""
    model.to(chosen.device)
    cuda = chosen.device == "cuda"
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with torch.inference_mode(), torch.autocast(chosen.device, torch.bfloat16):
        seconds = timed(lambda: (work(), None)[1], chosen.steps, chosen.device)
    peak = torch.cuda.max_memory_allocated() / 2**30 if cuda else 0.0
    model.to("cpu")
    return {"seconds": seconds, "peak GiB": peak}


def ours(core: Transformer, tokens: Tokens, chosen: argparse.Namespace) -> Callable[[], Tensor]:
    """A pass of the core over packed batches."""
    batches = [Batch.from_tokens(tokens, rows).to(chosen.device) for rows in pack(tokens, TOKEN_BUDGET)]
    return lambda: [core(batch, logits=False).last_hidden_state for batch in batches][-1]


def theirs(reference: nn.Module, tokens: Tokens, chosen: argparse.Namespace) -> Callable[[], Tensor]:
    """A pass of the reference over padded batches."""
    batches = padded(tokens, chosen.device)
    return lambda: [reference(ids, attention_mask=mask).last_hidden_state for ids, mask in batches][-1]


@torch.inference_mode()
def check(core: Transformer, reference: nn.Module, tokens: Tokens) -> float:
    """Greatest difference between both in float32 on the CPU, as a fraction of the greatest value."""
    ids, mask = padded(tokens.take([0, 1]), "cpu")[0]
    wanted = reference(ids, attention_mask=mask).last_hidden_state[mask.bool()]
    found = core(Batch.from_padded(ids, mask), logits=False).last_hidden_state
    share = float((found - wanted).abs().max() / wanted.abs().max())
    assert share < 1e-3, share
    return share


def main() -> None:
    """Print figures, device and date as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compile", action="store_true", help="compile the layers of both")
    parser.add_argument("--documents", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--device", default="cuda", help="'cpu' only shows that the script runs")
    parser.add_argument(
        "--tiny", action="store_true", help="two layers of 64 and 8 documents: only a rehearsal"
    )
    chosen = parser.parse_args()
    if chosen.device == "cuda" and not torch.cuda.is_available():
        parser.error("this benchmark needs a CUDA device")
    if chosen.tiny:
        chosen.documents, chosen.steps = 8, 1
    torch.manual_seed(0)
    tokens = proteins(chosen.documents)
    core, reference = models(TINY if chosen.tiny else SHAPE)
    name = torch.cuda.get_device_name() if chosen.device == "cuda" else "cpu"
    peak = next((rate for key, rate in PEAKS.items() if key in name), None)
    work = encoder_flops(core.config, tokens.lengths.tolist())
    mm = mm_rate(chosen.device)
    result: dict[str, object] = {
        "device": name,
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "torch": torch.__version__,
        "parameters": core.n_parameters,
        "tokens": len(tokens.ids),
        "torch.mm TFLOP/s": mm / 1e12,
    }
    jobs: dict[str, tuple[nn.Module, Callable[[], Tensor]]] = {"biolm": (core, ours(core, tokens, chosen))}
    if reference is not None:
        result["difference in float32"] = check(core, reference, tokens)
        jobs["transformers sdpa, padded"] = (reference, theirs(reference, tokens, chosen))
    for title, (model, run) in jobs.items():
        if chosen.compile:
            for layer in core.layers if model is core else model.encoder.layer:
                layer.compile(dynamic=True)
        found = measure(run, model, chosen)
        rate = work / found["seconds"]
        figures = {"tokens/s": len(tokens.ids) / found["seconds"], "peak GiB": found["peak GiB"]}
        result[title] = figures | {"fraction of torch.mm": rate / mm} | ({"MFU": rate / peak} if peak else {})
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
