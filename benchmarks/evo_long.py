"""Memory and time of very long sequences on a CPU, through layers of Evo 2's form.

    python benchmarks/evo_long.py [--width 32] [--picture FILE.svg]

Each length is embedded and scored in a process of its own, in parts of 8,192 bases: 10,000, 30,000 and
100,000 through the first seven layers of Evo 2 (S M L A S M L), and without their one attention layer; those
read 1,000,000 too, at half the width. Peak memory is that of the process above what it takes for 1,000 bases.
``--picture`` draws the time a base.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from evo_convolutions import evo

from biolm.adapters.sequences import make_tokenizer
from biolm.io.sequences import SequenceBlock
from biolm.models.sequence_model import SequenceModel, SequenceOptions
from biolm.models.sequence_preprocessor import SequencePreprocessor
from biolm.tasks.variants.likelihood import token_scores

HYENA = ("hyena_short", "hyena_medium", "hyena_long")
STACKS = {
    "hyena and attention": (*HYENA, "attention_stored_rope", *HYENA),
    "hyena alone": HYENA * 2,
}
LENGTHS = (1_000, 10_000, 30_000, 100_000)
PIECE = 8192


def measure(stack: str, width: int, length: int) -> dict[str, float]:
    """Embed and score one random sequence; seconds of process time and the process's peak memory in MiB."""
    torch.set_num_threads(1)
    preprocessor = SequencePreprocessor(name="evo2", tokenizer=make_tokenizer("evo2"), max_length=1 << 20)
    model = SequenceModel(preprocessor, evo(width, STACKS[stack]))
    text = "".join(np.random.default_rng(0).choice(list("ACGT"), length))
    block, options = SequenceBlock.of([text]), SequenceOptions(batch_tokens=PIECE, device="cpu")
    began = time.process_time()
    model.embed(block, options)
    embedded = time.process_time()
    token_scores(model, model.tokenize(block), "causal", options)
    done = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"embed": embedded - began, "score": done - embedded, "peak": peak}


def in_process(stack: str, width: int, length: int) -> dict[str, float]:
    """:func:`measure` in a new process, so that peaks do not add up."""
    command = [sys.executable, __file__, "--one", stack, str(width), str(length)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found


def draw(path: Path, curves: dict[str, dict[int, float]]) -> None:
    """Time a base against length."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 3.2), layout="constrained")
    for name, points in curves.items():
        axes.plot(list(points), list(points.values()), marker="o", label=name)
    axes.set(xscale="log", xlabel="bases", ylabel="µs a base (embedding)", ylim=(0, None))
    axes.legend(frameon=False)
    figure.savefig(path)


def main() -> None:
    """Print one table; draw it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(measure(chosen.one[0], int(chosen.one[1]), int(chosen.one[2]))))
        return
    narrow = max(16, chosen.width // 2)
    runs = [(stack, chosen.width, length) for stack in STACKS for length in LENGTHS]
    runs += [("hyena alone", narrow, length) for length in (*LENGTHS, 1_000_000)]
    least: dict[tuple[str, int], float] = {}
    curves: dict[str, dict[int, float]] = {}
    print("| layers | width | bases | embed, s | score, s | µs a base, embedding | memory above 1 kb |")
    print("|---|---|---|---|---|---|---|")
    for stack, width, length in runs:
        found = in_process(stack, width, length)
        above = found["peak"] - least.setdefault((stack, width), found["peak"])
        if length == LENGTHS[0]:
            continue
        each = 1e6 * found["embed"] / length
        curves.setdefault(f"{stack}, width {width}", {})[length] = each
        print(
            f"| {stack} | {width} | {length:,} | {found['embed']:.1f} | {found['score']:.1f} | {each:.1f} "
            f"| {above:.0f} MiB |",
            flush=True,
        )
    if chosen.picture is not None:
        draw(chosen.picture, curves)


if __name__ == "__main__":
    main()
