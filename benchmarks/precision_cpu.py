"""bfloat16 on one CPU thread beside float32: forward passes, the training step, attention, and what is lost.

    python benchmarks/precision_cpu.py shapes|training|attention|quality [CELLS TEXT] [--rounds 3]

``shapes``: some layers at the width and lengths of published models, random weights, in float32, by
``torch.autocast`` and with bfloat16 weights (what ``precision='bfloat16'`` runs); beside them the ratio of a
matrix product alone. ``training``: forward, backward and AdamW of masked tokens, float32 and mixed.
``attention``: GFLOP/s of kernels and layouts. ``quality``: the same vectors in both precisions, of
biolm-cell-mini on the labelled sets of ``_evaluation_sets.py`` (folder CELLS) and of MiniLM on PubMedQA
(folder TEXT). CPU seconds, the jobs taking turns, medians; ratios are of one run.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from _measure import interleaved
from torch import Tensor

from biolm.batch import Batch
from biolm.core import CoreConfig, Transformer
from biolm.core.hardware import multiplies_bfloat16
from biolm.core.narrow_attention import attend_in_blocks
from biolm.core.reduced import reduced

_BERT: dict[str, Any] = {
    "position": "learned", "max_length": 4096, "block": "post", "activation": "relu", "embed_norm": True,
}  # fmt: skip
SHAPES: dict[str, tuple[dict[str, Any], list[int]]] = {
    "Geneformer V1 (6 x 256), 2 layers": (
        {"vocab_size": 25_426, "d_model": 256, "n_layers": 2, "n_heads": 4, "d_ff": 512, **_BERT},
        [2048, 1700, 1300],
    ),
    "Geneformer V2 (12 x 768), 2 layers": (
        {"vocab_size": 20_275, "d_model": 768, "n_layers": 2, "n_heads": 12, "d_ff": 3072, **_BERT},
        [2000, 1500],
    ),
    "ESM-2 (33 x 1,280), 1 layer": (
        {"vocab_size": 33, "d_model": 1280, "n_layers": 1, "n_heads": 20, "d_ff": 5120, "position": "rope"},
        [512, 350, 250, 150],
    ),
}


def batch_of(lengths: list[int], vocabulary: int) -> Batch:
    """Random tokens."""
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return Batch.from_padded(torch.randint(5, min(vocabulary, 30_000), mask.shape), mask.long())


def shapes(rounds: int) -> dict[str, Any]:
    """Ratios to float32, the smallest cosine of a token's state, and the ratio of the products alone."""
    results: dict[str, Any] = {}
    for name, (config, lengths) in SHAPES.items():
        core = Transformer(CoreConfig(**config)).eval()
        narrow, batch = reduced(core, torch.bfloat16), batch_of(lengths, config["vocab_size"])

        def run(model: Transformer, mixed: bool = False, batch: Batch = batch) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                return model(batch, logits=False).last_hidden_state.float()

        jobs: dict[str, Callable[[], object]] = {
            "float32": lambda core=core: run(core),
            "autocast": lambda core=core: run(core, mixed=True),
            "bfloat16": lambda narrow=narrow: run(narrow),
        }
        x, w = torch.randn(sum(lengths), config["d_model"]), torch.randn(config["d_ff"], config["d_model"])
        halves = x.bfloat16(), w.bfloat16()
        jobs |= {
            "product float32": lambda x=x, w=w: F.linear(x, w),
            "product bfloat16": lambda halves=halves: F.linear(*halves),
        }
        exact = run(core)
        cosine = F.cosine_similarity(exact, run(narrow)).min()
        for job in jobs.values():
            job()
        seconds = interleaved(jobs, rounds=rounds)
        results[name] = {
            "seconds float32": round(seconds["float32"], 3),
            "times, autocast": round(seconds["float32"] / seconds["autocast"], 2),
            "times, bfloat16": round(seconds["float32"] / seconds["bfloat16"], 2),
            "times, products alone": round(seconds["product float32"] / seconds["product bfloat16"], 2),
            "smallest cosine of a token": round(float(cosine), 6),
        }
    return results


def training(rounds: int) -> dict[str, Any]:
    """Masked tokens on BERT 6 x 256 with 2 documents of 1,024 tokens, and on 2 layers of 768."""
    from biolm.objectives.base import Metadata
    from biolm.objectives.registry import make

    results: dict[str, Any] = {}
    for name, width, layers, inner in (("6 x 256", 256, 6, 512), ("2 layers of 768", 768, 2, 3072)):
        config = CoreConfig(
            vocab_size=25_000, d_model=width, n_layers=layers, n_heads=width // 64, d_ff=inner,
            head="mlm", dropout_attention=0.0, **_BERT,
        )  # fmt: skip
        core = Transformer(config).train()
        objective = make("masked_tokens", Metadata(core=config, special_ids=tuple(range(5)), mask_id=4))
        batch = Batch.from_padded(torch.randint(5, 25_000, (2, 1024)))
        prepared = objective.prepare(batch, torch.arange(2), 0, 0)
        optimiser = torch.optim.AdamW(core.parameters(), fused=True)

        def step(
            mixed: bool, core: Any = core, objective: Any = objective, prepared: Any = prepared,
            optimiser: Any = optimiser,
        ) -> None:  # fmt: skip
            with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                loss = objective.loss(core, prepared)[0]
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()

        jobs: dict[str, Callable[[], object]] = {
            "float32": lambda step=step: step(False),
            "mixed": lambda step=step: step(True),
        }
        for job in jobs.values():
            job()
        seconds = interleaved(jobs, rounds=rounds)
        results[name] = {
            "seconds float32": round(seconds["float32"], 3),
            "times, mixed": round(seconds["float32"] / seconds["mixed"], 2),
        }
    return results


def attention(rounds: int) -> dict[str, Any]:
    """GFLOP/s: documents x heads (key-value heads) x tokens, heads of 64."""
    results: dict[str, Any] = {}
    cases = ((1, 4, 4, 2048), (1, 12, 12, 1024), (4, 12, 12, 256), (8, 20, 20, 128), (1, 16, 4, 1024))
    for documents, heads, shared, tokens in cases:
        q = torch.randn(documents, tokens, heads, 64)
        k, v = torch.randn(2, documents, tokens, shared, 64).unbind()
        narrow = [x.bfloat16() for x in (q, k, v)]

        def fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            first = (x.transpose(1, 2) for x in (q, k, v))
            return F.scaled_dot_product_attention(*first, enable_gqa=q.shape[2] != k.shape[2])

        def copied(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            first = (x.transpose(1, 2).contiguous() for x in (q, k, v))
            return F.scaled_dot_product_attention(*first, enable_gqa=q.shape[2] != k.shape[2])

        def one_by_one(q: Tensor, k: Tensor, v: Tensor) -> list[Tensor]:
            return [fused(*each) for each in zip(q.split(1), k.split(1), v.split(1), strict=True)]

        def repeated(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            times = q.shape[2] // k.shape[2]
            return fused(q, k.repeat_interleave(times, 2), v.repeat_interleave(times, 2))

        def stacked(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            # Heads that share keys as more queries of one head.
            times = q.shape[2] // k.shape[2]
            rows = q.unflatten(2, (-1, times)).permute(0, 1, 3, 2, 4).flatten(1, 2)
            return fused(rows, k, v)

        jobs: dict[str, Callable[[], object]] = {
            "float32, fused": lambda q=q, k=k, v=v: fused(q, k, v),
            "float32, fused, heads copied together": lambda q=q, k=k, v=v: copied(q, k, v),
            "float32, in blocks": lambda q=q, k=k, v=v: attend_in_blocks(q, k, v, 0.125),
            "bfloat16, fused": lambda n=narrow: fused(*n),
            "bfloat16, in blocks": lambda n=narrow: attend_in_blocks(*n, 0.125),
        }
        if documents > 1:
            jobs["float32, fused, a document at a time"] = lambda q=q, k=k, v=v: one_by_one(q, k, v)
        if heads != shared:
            jobs["float32, fused, keys repeated"] = lambda q=q, k=k, v=v: repeated(q, k, v)
            jobs["float32, fused, heads as queries"] = lambda q=q, k=k, v=v: stacked(q, k, v)
        for job in jobs.values():
            job()
        work = 4e-9 * documents * heads * tokens**2 * 64
        name = f"{documents} x {heads} ({shared}) x {tokens}"
        results[name] = {
            job: round(work / seconds) for job, seconds in interleaved(jobs, rounds=rounds).items()
        }
    return results


def quality(cells: Path, text: Path) -> dict[str, Any]:
    """Scores in float32 and bfloat16, and the smallest cosine between the vectors of a row."""
    from _evaluation_sets import read

    import biolm
    from biolm.io.text.questions import read_pubmedqa
    from biolm.models.model import EmbedOptions
    from biolm.models.systems.genetext import centre
    from biolm.scoring.quality import knn_quality
    from biolm.text.embed import embed_texts, load_encoder
    from biolm.text.models import model_folder
    from biolm.text.qa.yesno import answers_of, inputs_of, vector_answers

    results: dict[str, Any] = {}
    model = biolm.load("biolm-cell-mini")
    for table in read(cells):
        both = [
            model.embed(table.block, table.match(model), EmbedOptions(device="cpu", precision=precision))
            for precision in ("float32", "bfloat16")
        ]
        labelled = table.labels != ""
        scores = [
            float(knn_quality(centre(vectors[labelled]), table.labels[labelled]).macro_f1) for vectors in both
        ]
        results[f"cell-mini, within {table.name}"] = _beside(both, scores)
    train, test = read_pubmedqa(
        text / "pubmedqa" / "ori_pqal.json", text / "pubmedqa" / "test_ground_truth.json"
    )
    gold, known = answers_of(test), answers_of(train)
    encoder = load_encoder(model_folder("minilm"))
    both, scores = [], []
    for precision in ("float32", "bfloat16"):
        sides = [
            embed_texts(encoder, inputs_of(side, "question"), device="cpu", precision=precision)
            for side in (train, test)
        ]
        both.append(np.concatenate(sides))
        answers = vector_answers(sides[0], known, sides[1])
        scores.append(float(np.mean(np.asarray(answers) == np.asarray(gold))))
    results["MiniLM, PubMedQA by the question, accuracy"] = _beside(both, scores)
    return results


def _beside(vectors: list[Any], scores: list[float]) -> dict[str, float]:
    first, second = (torch.from_numpy(np.asarray(each, np.float64)) for each in vectors)
    cosines = F.cosine_similarity(first, second)[first.any(1)]
    return {
        "float32": round(scores[0], 4),
        "bfloat16": round(scores[1], 4),
        "smallest cosine": round(float(cosines.min()), 6),
    }


def main() -> None:
    """Print JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("shapes", "training", "attention", "quality"))
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    result: dict[str, Any] = {"multiplies bfloat16": multiplies_bfloat16()}
    if given.what == "quality":
        result |= quality(*given.folders)
    elif given.what == "training":
        result |= training(given.rounds)
    else:
        with torch.inference_mode():
            result |= shapes(given.rounds) if given.what == "shapes" else attention(given.rounds)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
