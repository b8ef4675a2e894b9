"""Embedding cells on one CPU thread: the shared core beside what published tools run.

Geneformer V1 (6 layers of 256, 4 heads, feed-forward 512, vocabulary 25,426) on cells of 520 to 2,048
tokens: packed, against ``transformers`` eager and SDPA on one padded batch, and against the rate of
``torch.mm``. scGPT (12 layers of 512, 8 heads) on 1,200 tokens: against ``nn.TransformerEncoder`` with a
padding mask. Same weights and same result in both; ratios are of one run.

    python benchmarks/forward_cells.py [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings

import torch
from _measure import encoder_flops, interleaved, mm_rate

from biolm.batch import Batch
from biolm.core import CoreConfig, Transformer, pool
from biolm.models.families.hf import from_hf


def geneformer(rounds: int) -> dict[str, float]:
    """Cells a second of each way, the second-to-last hidden state pooled by its mean."""
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(
        vocab_size=25_426, hidden_size=256, num_hidden_layers=6, num_attention_heads=4, intermediate_size=512,
        max_position_embeddings=2048, hidden_act="relu", layer_norm_eps=1e-12, pad_token_id=0,
    )  # fmt: skip
    lengths = torch.linspace(520, 2048, 8).int().tolist()
    ids = torch.randint(2, 25_426, (8, 2048))
    mask = (torch.arange(2048) < torch.tensor(lengths)[:, None]).long()
    with tempfile.TemporaryDirectory() as folder:
        BertForMaskedLM(config).save_pretrained(folder)
        core = from_hf(folder)
        references = {
            kind: BertForMaskedLM.from_pretrained(folder, attn_implementation=kind).eval()
            for kind in ("eager", "sdpa")
        }
    batch = Batch.from_padded(ids, mask)

    def ours(layers: int | None) -> torch.Tensor:
        output = core(batch, logits=False, n_layers=layers)
        return pool(output.last_hidden_state, batch.offsets, "mean")

    def theirs(kind: str) -> torch.Tensor:
        states = references[kind](ids, attention_mask=mask, output_hidden_states=True).hidden_states[-2]
        return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)

    difference = (ours(5) - theirs("eager")).abs().max()
    assert difference < 1e-4, difference
    seconds = interleaved(
        {
            "biolm": lambda: ours(5),
            "biolm, all 6 layers": lambda: ours(None),
            "transformers eager": lambda: theirs("eager"),
            "transformers sdpa": lambda: theirs("sdpa"),
        },
        rounds=rounds,
    )
    peak = mm_rate()
    share = encoder_flops(core.config, lengths) / seconds["biolm, all 6 layers"] / peak
    return {
        **{f"{name}: cells/s": len(lengths) / x for name, x in seconds.items()},
        "times transformers eager": seconds["transformers eager"] / seconds["biolm"],
        "times transformers sdpa": seconds["transformers sdpa"] / seconds["biolm"],
        "times transformers eager, all 6 layers": seconds["transformers eager"]
        / seconds["biolm, all 6 layers"],
        "fraction of torch.mm": share,
        "torch.mm GFLOP/s": peak / 1e9,
    }


def scgpt(rounds: int) -> dict[str, float]:
    """Cells a second of the packed core and of torch's own encoder with a padding mask."""
    config = CoreConfig(
        vocab_size=4000, d_model=512, n_layers=12, n_heads=8, d_ff=512, position="none", block="post",
        activation="relu",
    )  # fmt: skip
    core = Transformer(config).eval()
    layer = torch.nn.TransformerEncoderLayer(512, 8, 512, batch_first=True)
    encoder = torch.nn.TransformerEncoder(layer, 12).eval()
    for ours, theirs in zip(core.layers, encoder.layers, strict=True):
        a = theirs.self_attn
        for part, weight, bias in zip(
            ("query", "key", "value"), a.in_proj_weight.chunk(3), a.in_proj_bias.chunk(3), strict=True
        ):
            getattr(ours.attention, part).load_state_dict({"weight": weight, "bias": bias})
        ours.attention.out.load_state_dict(a.out_proj.state_dict())
        ours.mlp.up.load_state_dict(theirs.linear1.state_dict())
        ours.mlp.down.load_state_dict(theirs.linear2.state_dict())
    lengths = [1200, 1200, 1100, 800]
    ids = torch.randint(0, 4000, (4, 1200))
    padding = torch.arange(1200) >= torch.tensor(lengths)[:, None]
    batch = Batch.from_padded(ids, ~padding)
    embedded = core.embeddings.token(ids)
    difference = (
        core(batch).last_hidden_state - encoder(embedded, src_key_padding_mask=padding)[~padding]
    ).abs()
    assert difference.max() < 1e-4, difference.max()
    seconds = interleaved(
        {
            "biolm": lambda: core(batch),
            "nn.TransformerEncoder": lambda: encoder(embedded, src_key_padding_mask=padding),
        },
        rounds=rounds,
    )
    share = encoder_flops(config, lengths) / seconds["biolm"] / mm_rate()
    return {
        **{f"{name}: cells/s": len(lengths) / x for name, x in seconds.items()},
        "times nn.TransformerEncoder": seconds["nn.TransformerEncoder"] / seconds["biolm"],
        "fraction of torch.mm": share,
    }


def main() -> None:
    """Print both as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.filterwarnings("ignore", category=UserWarning)
    with torch.inference_mode():
        result = {"geneformer": geneformer(rounds), "scgpt": scgpt(rounds)}
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
