"""Speed of tagging against the pipeline of transformers, and memory of reading MEDLINE.

``python benchmarks/text_speed.py SHARED/data/text TAGGER``. CPU time of one thread, as the clock of a shared
machine says little; both tag the same texts with the same weights.
"""

from __future__ import annotations

import gzip
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COUNT = 40
CITATIONS = 30_000


def main() -> None:
    """Print a JSON line a measurement; each in a process of its own."""
    data, tagger = sys.argv[1:3]
    if len(sys.argv) == 4:
        {"ours": ours, "theirs": theirs, "medline": medline}[sys.argv[3]](Path(data), Path(tagger))
        return
    for what in ("ours", "theirs", "medline"):
        subprocess.run([sys.executable, __file__, data, tagger, what], check=True)


def texts(data: Path) -> list[str]:
    """Abstracts that fit into one window, which is what the pipeline reads."""
    from biolm.io.text import read_documents

    documents = read_documents(data / "ncbi_disease_pubtator" / "NCBItestset_corpus.txt")
    return [each.text for each in documents if len(each.text) < 1800][:COUNT]


def sentences(data: Path) -> list[str]:
    """Sentences of the same corpus, which is what taggers are often given."""
    from biolm.io.text import read_documents

    return [each.text for each in read_documents(data / "ncbi_disease" / "test.tsv")][: 4 * COUNT]


def report(name: str, begin: float, count: int, found: int) -> None:
    """CPU seconds since ``begin``."""
    seconds = time.process_time() - begin
    print(
        json.dumps({"what": name, "texts": count, "mentions": found, "cpu_seconds": round(seconds, 2)}),
        flush=True,
    )


def ours(data: Path, folder: Path) -> None:
    """Biolm."""
    import torch

    from biolm.io.text import Document
    from biolm.text.ner.predict import predict
    from biolm.text.ner.tagger import load_tagger
    from biolm.text.pieces import load_pieces

    torch.set_num_threads(1)
    tagger, tokenizer = load_tagger(folder), load_pieces(folder)
    for what, read in (("abstracts", texts(data)), ("sentences", sentences(data))):
        documents = [Document(str(n), text) for n, text in enumerate(read)]
        for precision in ("float32", "bfloat16"):
            list(predict(tagger, tokenizer, documents[:2], device="cpu", precision=precision))
            begin = time.process_time()
            found = list(predict(tagger, tokenizer, documents, device="cpu", precision=precision))
            report(f"biolm {precision}, {what}", begin, len(read), sum(len(each.mentions) for each in found))


def theirs(data: Path, folder: Path) -> None:
    """transformers, one text after another, and in batches of eight."""
    import torch
    from transformers import pipeline

    torch.set_num_threads(1)
    tag = pipeline("token-classification", model=str(folder), aggregation_strategy="first", device="cpu")
    for what, read in (("abstracts", texts(data)), ("sentences", sentences(data))):
        tag(read[:2])
        for size in (1, 8):
            begin = time.process_time()
            found = tag(read, batch_size=size)
            report(f"transformers pipeline, batch {size}, {what}", begin, len(read), sum(map(len, found)))


def medline(data: Path, folder: Path) -> None:
    """Peak memory of reading 30,000 citations."""
    del folder
    from biolm.io.text import ReadOptions, read_documents

    source = gzip.decompress((data / "medline" / "medline_first300.xml.gz").read_bytes()).decode()
    citations = re.findall(r"<PubmedArticle>.*?</PubmedArticle>", source, re.DOTALL)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "many.xml.gz"
        with gzip.open(path, "wt", compresslevel=1) as file:
            file.write("<PubmedArticleSet>")
            for number in range(CITATIONS):
                text = citations[number % len(citations)]
                file.write(re.sub(r"(<PMID[^>]*>)\d+", rf"\g<1>{number + 1}", text, count=1))
            file.write("</PubmedArticleSet>")
        begin = time.process_time()
        count = sum(1 for _ in read_documents(path, ReadOptions(format="medline")))
        seconds = time.process_time() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    row = {"what": "medline", "citations": count, "cpu_seconds": round(seconds, 1), "peak_mib": round(peak)}
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
