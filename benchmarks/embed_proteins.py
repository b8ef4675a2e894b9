"""Embed real proteins: packed beside transformers padded in file order, and the memory of a long file.

Both run ESM-2's shape (480 wide, 20 heads) with the same random weights on one thread and give the mean over
residues. The reference is given the same ids, and pads eight proteins at a time with SDPA in the order of the
file, as scripts do.

With ``--records`` only the memory of a job is measured, with one layer and without ``transformers``: the
peak of the process above what it held with the model loaded.

    python benchmarks/embed_proteins.py PROTEINS.fasta.gz
    python benchmarks/embed_proteins.py PROTEINS.fasta.gz --records 10000
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from _measure import interleaved
from core_proteins import models, padded

from biolm.adapters.sequences import make_tokenizer
from biolm.core import CoreConfig, Transformer
from biolm.io.sequences import SequenceBlock, open_sequences
from biolm.jobs.settings import EmbedSettings
from biolm.models.sequence_model import SequenceModel, SequenceOptions
from biolm.models.sequence_preprocessor import SequencePreprocessor
from biolm.tasks.embed import embed_file

LONGEST = 1022


def first(path: Path, count: int) -> SequenceBlock:
    """The first proteins of a file that a model reads at once."""
    with open_sequences(path) as source:
        block = next(source.blocks(records=8 * count))
    return block.take(np.flatnonzero(block.lengths <= LONGEST)[:count])


def speed(path: Path, count: int, layers: int, rounds: int) -> dict[str, float]:
    """Residues a CPU second, and how many times faster than padded."""
    core, reference = models(layers)
    preprocessor = SequencePreprocessor(name="esm", tokenizer=make_tokenizer("esm"), max_length=LONGEST + 2)
    model, options = SequenceModel(preprocessor, core), SequenceOptions(device="cpu")
    block = first(path, count)
    tokens = model.tokenize(block)
    found: dict[str, np.ndarray] = {}

    def ours() -> None:
        found["ours"] = model.embed(block, options)

    def theirs() -> None:
        rows = []
        for ids, mask in padded(tokens, np.arange(count)):
            states = reference.esm(ids, attention_mask=mask).last_hidden_state
            inner = mask.clone()
            inner[:, 0] = 0
            inner[torch.arange(len(mask)), mask.sum(1) - 1] = 0
            rows.append((states * inner[..., None]).sum(1) / inner.sum(1, keepdim=True))
        found["theirs"] = torch.cat(rows).numpy()

    with torch.inference_mode():
        seconds = interleaved({"ours": ours, "theirs": theirs}, rounds=rounds)
    error = np.abs(found["ours"] - found["theirs"]).max() / np.abs(found["theirs"]).max()
    assert error < 1e-4, error
    return {
        "residues": int(block.lengths.sum()),
        "residues/s": float(block.lengths.sum() / seconds["ours"]),
        "times padded, file order": seconds["theirs"] / seconds["ours"],
    }


def memory(path: Path, count: int, output: str, width: int) -> dict[str, float]:
    """Peak MiB of a job on the first records of a file, above the process with the model loaded."""
    torch.manual_seed(0)
    config = CoreConfig(
        vocab_size=33, d_model=width, n_layers=1, n_heads=width // 24, d_ff=4 * width, position="rope"
    )
    preprocessor = SequencePreprocessor(name="esm", tokenizer=make_tokenizer("esm"), max_length=LONGEST + 2)
    model = SequenceModel(preprocessor, Transformer(config))
    with tempfile.TemporaryDirectory() as folder:
        fasta = Path(folder) / "part.fasta"
        records = residues = 0
        with open_sequences(path) as source, fasta.open("w") as file:
            for block in source.blocks(records=500):
                part = block.part(0, min(len(block), count - records))
                file.writelines(f">{part.start + row}\n{part.text(row)}\n" for row in range(len(part)))
                records, residues = records + len(part), residues + len(part.letters)
                if records == count:
                    break
        before = held("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        embed_file(fasta, Path(folder) / output, model, EmbedSettings(device="cpu"))
    return {
        "records": records,
        "residues": residues,
        "with the model loaded, MiB": before,
        "peak above it, MiB": held("VmHWM") - before,
    }


def held(what: str) -> float:
    """MiB that the kernel states for this process: ``VmRSS`` now, ``VmHWM`` at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fasta", type=Path)
    parser.add_argument("--proteins", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--records", type=int, default=0, help="Measure memory on so many records, alone.")
    parser.add_argument("--width", type=int, default=480, help="Of the one layer that --records runs.")
    parser.add_argument("--output", default="out.h5ad", help="Name of the output, for its format.")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.records:
        result = memory(chosen.fasta, chosen.records, chosen.output, chosen.width)
    else:
        torch.manual_seed(0)
        result = speed(chosen.fasta, chosen.proteins, chosen.layers, chosen.rounds)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
