"""Every command that writes, on inputs as small as they go: what the tests of kills and full disks run."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from typer.testing import CliRunner, Result

from biolm.cli.main import app

TESTS = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Command:
    """A command line.

    Parameters
    ----------
    line
        With ``{i}`` for the folder of the inputs and ``{o}`` for that of the outputs.
    output
        What the user names.
    resume, overwrite
        Whether it has these options.
    slow
        Of the short run, it has one death alone.
    """

    line: str
    output: str
    resume: bool = False
    overwrite: bool = True
    slow: bool = False

    def words(self, inputs: Path, outputs: Path, *more: str) -> list[str]:
        """What is typed."""
        words = [word.replace("{i}", str(inputs)).replace("{o}", str(outputs)) for word in self.line.split()]
        return [word.replace("~", " ") for word in words] + list(more)


def _cells(verb: str, output: str, *, resume: bool = False) -> Command:
    return Command(f"{verb} -o {{o}}/{output}", output, resume)


EMBED = "embed {i}/cells.h5ad --block-rows 20"
CELLS = {
    "embed to h5ad": _cells(EMBED, "x.h5ad", resume=True),
    "embed to zarr": _cells(EMBED, "x.zarr", resume=True),
    "embed to npy": _cells(EMBED, "x.npy", resume=True),
    "embed to parquet": _cells(EMBED, "x.parquet", resume=True),
    "embed a shard": _cells(f"{EMBED} --shard 1/2", "part", resume=True),
    "merge": _cells("merge {i}/part1 {i}/part2", "merged.npy"),
    "tokenize": _cells("tokenize {i}/cells.h5ad -m {i}/cellmodel --block-rows 20", "t.parquet", resume=True),
    "tokenize to zarr": _cells(
        "tokenize {i}/cells.h5ad -m {i}/cellmodel --block-rows 20", "t.zarr", resume=True
    ),
    "annotate fit": _cells("annotate fit {i}/cells.h5ad --label kind --seed 1", "annotator"),
    "annotate predict": _cells(
        "annotate predict {i}/cells.h5ad -a {i}/annotator --block-rows 20", "called.h5ad", resume=True
    ),
    "search build": _cells("search build {i}/cells.h5ad --label kind", "index", resume=True),
    "search query": _cells("search query {i}/cells.h5ad -i {i}/index -k 3", "n.tsv", resume=True),
    "search query to h5ad": _cells("search query {i}/cells.h5ad -i {i}/index -k 3", "n.h5ad", resume=True),
    "perturb": _cells(
        "perturb {i}/cells.h5ad -m {i}/cellmodel --delete G1 --cells 6",
        "p.tsv",
        resume=True,
    ),
    "pack cells": _cells("pack {i}/cells.h5ad", "cells.store", resume=True),
    "pack tokens": _cells("pack {i}/tokens.parquet", "tokens.store", resume=True),
    "fit-factors": _cells("fit-factors {i}/cells.h5ad --factors 2 --rounds 2 --minimum-match 0", "factors"),
    "name-factors": _cells("name-factors", "named.tsv"),
    "name-factors to a page": _cells("name-factors", "named.html"),
    "impute": _cells(
        "impute {i}/cells.h5ad -m {i}/factormodel --genes all --minimum-match 0 --block-rows 20",
        "imputed.h5ad",
        resume=True,
    ),
    "attention": _cells("attention {i}/cells.h5ad -m {i}/cellmodel --cells 4", "a.tsv"),
    "genes vectors": _cells("genes vectors {i}/cells.h5ad -m {i}/cellmodel", "g.tsv"),
    "genes vectors to h5ad": _cells("genes vectors {i}/cells.h5ad -m {i}/cellmodel", "g.h5ad"),
    "genes network": _cells("genes network {i}/cells.h5ad -m {i}/cellmodel --max-fdr 1 -k 2", "e.csv"),
    "evaluate": Command(
        "evaluate {i}/cells.h5ad --label kind -e X_any --no-integration --no-robustness --no-maps --draws 2 "
        "--folds 2 -o {o}/report",
        "report",
    ),
    "pretrain": Command("pretrain {i}/cells.yaml -o {o}/run", "run", resume=True, overwrite=False),
    "annotate genes": _cells("annotate genes {i}/genes.tsv", "called.tsv"),
    "demo": Command("demo -o {o}/demo", "demo", slow=True),
}
WINDOWS = "--reference {i}/genome.fa -m {i}/evo --window 16 --strands forward"
SEQUENCES = {
    "embed sequences to pt": _cells("embed {i}/p.fa -m {i}/esm", "s.pt", resume=True),
    "embed sequences to h5ad": _cells("embed {i}/p.fa -m {i}/esm", "s.h5ad", resume=True),
    "pack sequences": _cells("pack {i}/p.fa", "s.store"),
    "contacts": _cells("contacts {i}/p.fa -m {i}/esm", "c.tsv", resume=True),
    "contacts to npz": _cells("contacts {i}/p.fa -m {i}/esm", "c.npz", resume=True),
    "generate": _cells("generate -m {i}/iglm -n 2 --max-length 20 --batch-size 1", "g.fa", resume=True),
    "score-variants of an assay": _cells(
        "score-variants {i}/assay.csv --sequence {i}/one.fa -m {i}/esm", "v.csv", resume=True
    ),
    "score-variants by a scan": _cells(
        "score-variants {i}/one.fa --scan -m {i}/esm", "scan.tsv", resume=True
    ),
    "annotate fit of sequences": _cells(
        "annotate fit {i}/p.fa --label kind --labels {i}/labels.tsv -m {i}/esm --split random "
        "--method linear --features embedding",
        "annotator",
    ),
    "annotate predict of sequences": _cells(
        "annotate predict {i}/p.fa -a {i}/sequence-annotator", "called.tsv", resume=True
    ),
    "benchmark": _cells("benchmark {i}/benchmark -m {i}/esm", "scores"),
}
GENOMES = {
    "entropy": _cells("entropy {i}/genome.fa -m {i}/evo", "e.bedgraph"),
    "score-variants of a VCF": _cells(f"score-variants {{i}}/in.vcf {WINDOWS}", "v.vcf", resume=True),
    "score-variants of a VCF, packed": _cells(
        f"score-variants {{i}}/in.vcf {WINDOWS}", "v.vcf.gz", resume=True
    ),
    "score-variants of intervals": _cells(
        f"score-variants {{i}}/in.bed --scan {WINDOWS}", "scan.tsv", resume=True
    ),
}
TEXT = {
    "text convert": _cells("text convert {i}/a.pubtator", "a.xml"),
    "text convert to brat": _cells("text convert {i}/a.pubtator --format brat", "brat"),
    "text embed": _cells("text embed {i}/a.pubtator -m {i}/bert", "v.parquet", resume=True),
    "text attention": _cells("text attention aspirin -m {i}/bert", "m.html"),
    "text link": _cells("text link {i}/a.pubtator --terms {i}/terms.tsv", "l.pubtator"),
    "text network": _cells("text network {i}/genes.jsonl", "net.tsv"),
    "text ner train": _cells(
        "text ner train {i}/ner.jsonl --dev {i}/ner.jsonl -m {i}/bert --epochs 1 --device cpu", "tagger"
    ),
    "text ner predict": _cells("text ner predict {i}/a.pubtator -m {i}/tagger", "tagged.jsonl"),
    "text relate": _cells("text relate --train {i}/related.pubtator {i}/related.pubtator", "r.pubtator"),
    "text qa train": _cells(
        "text qa train {i}/learned.json --dev {i}/asked.json -m {i}/bert --epochs 1 --device cpu", "answerer"
    ),
    "text qa answer": _cells("text qa answer {i}/asked.json -m {i}/answerer --device cpu", "answers.json"),
    "text qa yesno": _cells("text qa yesno {i}/yesno.json --test-ids {i}/ids.json", "yesno.json"),
    "text gene-vectors": _cells("text gene-vectors {i}/genes.tsv -m {i}/bert", "vectors"),
    "text topics": Command(
        "text topics {i}/sentences.jsonl --topics 2 --method plsa --cloud {o}/cloud.png", "cloud.png"
    ),
    "text pretrain": _cells(
        "text pretrain {i}/sentences.jsonl --vocab-size 120 --d-model 16 --n-layers 1 --max-length 32 "
        "--steps 2",
        "bert",
    ),
}
SPATIAL = {
    "spatial prepare": _cells(
        "spatial prepare {i}/section.h5ad --image {i}/section.png --patch-pixels 32 --no-cache",
        "prepared.h5ad",
    ),
    "spatial train": _cells(
        "spatial train {i}/prepared.h5ad --targets 4 --tokens 6 --components 3 --neighbours 2 --width 8 "
        "--layers 1 --epochs 1 --seeds 0",
        "fusion",
    ),
    "spatial embed": _cells("spatial embed {i}/prepared.h5ad -m {i}/fusion", "fused.h5ad"),
    "spatial predict": _cells("spatial predict {i}/prepared.h5ad -m {i}/fusion", "predicted.h5ad"),
    "spatial domains": _cells("spatial domains {i}/prepared.h5ad --k 2 --seeds 2", "domains.h5ad"),
    "spatial deconvolve": _cells(
        "spatial deconvolve {i}/prepared.h5ad --topics 2 --iterations 3", "mixed.h5ad"
    ),
    "spatial check": _cells("spatial check {i}/section.h5ad --image {i}/section.png", "checked"),
    "spatial retrieve": Command(
        "spatial retrieve {i}/prepared.h5ad -m {i}/fusion --picture {o}/r.png", "r.png"
    ),
}
COMMANDS = CELLS | SEQUENCES | GENOMES | TEXT | SPATIAL


def invoke(words: list[str]) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(app, words)


def made(name: str, words: str, folder: Path) -> Path:
    """An input that another command makes."""
    target = folder / name
    if not target.exists():
        done = invoke([word.replace("{i}", str(folder)) for word in words.split()] + ["-o", str(target)])
        assert done.exit_code == 0, done.output + repr(done.exception)
    return target


def _part(name: str) -> Any:
    """What another folder of tests makes its small models and data with."""
    spec = importlib.util.spec_from_file_location(f"part_{Path(name).name}", TESTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_cells(folder: Path) -> None:
    """Cells of two kinds, of genes that the default model has loadings for, and a small model of them."""
    import anndata
    import pandas as pd
    import yaml
    from scipy.sparse import csr_matrix

    from biolm.models.systems import cellfactors

    draws = np.random.default_rng(0)
    model = cellfactors.load()
    genes = [model.vocabulary.genes[row] for row in model.rows[::200][:40]]
    kinds = np.arange(48) % 2
    rates = np.full((48, len(genes)), 0.6)
    rates[kinds == 1, :10] = 3
    names = [f"G{number}" for number in range(len(genes))]
    cells = anndata.AnnData(
        csr_matrix(draws.poisson(rates).astype(np.float32)),
        obs=pd.DataFrame({"kind": np.array(["a", "b"])[kinds]}, index=[f"c{n}" for n in range(48)]),
        var=pd.DataFrame({"ensembl_id": list(genes)}, index=names),
    )
    cells.obsm["X_any"] = draws.normal(size=(48, 3)).astype(np.float32)
    cells.write_h5ad(folder / "cells.h5ad")
    small = _part("training/small_runs")
    values = small.values_of(folder / "cells.h5ad", max_steps=2, checkpoint_every=1, validate_every=2)
    (folder / "cells.yaml").write_text(yaml.safe_dump(values))
    labelled = "".join(f"{gene}\t{'ab'[place % 2]}\n" for place, gene in enumerate(genes[:8]))
    (folder / "genes.tsv").write_text("gene\ttype\n" + labelled)
    made("run", "pretrain {i}/cells.yaml", folder)
    (folder / "run" / "model").rename(folder / "cellmodel")
    made("part1", f"{EMBED} --shard 1/2", folder)
    made("part2", f"{EMBED} --shard 2/2", folder)
    made("tokens.parquet", "tokenize {i}/cells.h5ad -m {i}/cellmodel", folder)
    made("annotator", "annotate fit {i}/cells.h5ad --label kind", folder)
    made("factormodel", CELLS["fit-factors"].line.partition(" -o ")[0], folder)
    made("index", "search build {i}/cells.h5ad --label kind", folder)


def make_sequences(folder: Path) -> None:
    """Forty proteins in two kinds, a small ESM-2, a small IgLM."""
    import torch
    from transformers import EsmConfig, EsmForMaskedLM

    draws, tiny = np.random.default_rng(0), _part("tasks/generate/tiny_sequences")
    words = ["".join(draws.choice(list(tiny.RESIDUES), 14)) for _ in range(40)]
    (folder / "p.fa").write_text("".join(f">p{n}\n{word}\n" for n, word in enumerate(words)))
    (folder / "one.fa").write_text(f">p0\n{words[0]}\n")
    rows = "".join(f"p{n}\t{'ab'[n % 2]}\n" for n in range(40))
    (folder / "labels.tsv").write_text("id\tkind\n" + rows)
    changes = [f"{words[0][place]}{place + 1}{'G' if words[0][place] != 'G' else 'A'}" for place in range(6)]
    (folder / "assay.csv").write_text("mutant,score\n" + "".join(f"{each},1.0\n" for each in changes))
    torch.manual_seed(0)
    config = EsmConfig(
        vocab_size=33, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        position_embedding_type="rotary", max_position_embeddings=60, token_dropout=True, mask_token_id=32,
        pad_token_id=1, layer_norm_eps=1e-5,
    )  # fmt: skip
    EsmForMaskedLM(config).save_pretrained(folder / "esm")
    tiny.write_iglm(folder / "iglm")
    (folder / "benchmark" / "kinds").mkdir(parents=True)
    for side, some in (("train", words[:20]), ("test", words[20:30])):
        labelled = "".join(f"{word},{n % 2}\n" for n, word in enumerate(some))
        (folder / "benchmark" / "kinds" / f"{side}.csv").write_text("sequence,label\n" + labelled)
    made("sequence-annotator", SEQUENCES["annotate fit of sequences"].line.partition(" -o ")[0], folder)


def make_genomes(folder: Path) -> None:
    """A genome of 80 bases, three variants, an interval, and a small model like Evo 2."""
    from biolm.models.systems import evo2

    genome = "".join(np.random.default_rng(0).choice(list("ACGT"), 80))
    (folder / "genome.fa").write_text(f">chr1\n{genome}\n")
    other = dict(zip("ACGT", "CGTA", strict=True))
    rows = [f"1\t{at}\tv{at}\t{genome[at - 1]}\t{other[genome[at - 1]]}\t.\t.\t." for at in (5, 30, 70)]
    header = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    (folder / "in.vcf").write_text(header + "".join(f"{row}\n" for row in rows))
    (folder / "in.bed").write_text("chr1\t20\t26\tpiece\n")
    sizes = {"norm": "rmsnorm", "norm_eps_outside": True, "glu": True, "mlp_bias": False, "qkv_bias": False}
    sizes |= {"mlp_out_bias": False, "mixer_options": {"hyena_short": {"groups": 2}}}
    evo2.save(_part("tasks/test_entropy")._model(**sizes), folder / "evo")


def make_text(folder: Path) -> None:
    """Two documents with a mention, a small BERT, a dictionary."""
    import torch

    from biolm.core import CoreConfig, Transformer
    from biolm.models.families.hf import to_hf

    text = _part("text/conftest")
    (folder / "bert").mkdir()
    size = text.write_tokenizer(folder / "bert", ["aspirin", "ulcer", "##s", "causes"])
    torch.manual_seed(0)
    config = CoreConfig(
        vocab_size=size, d_model=16, n_layers=1, n_heads=2, d_ff=16, max_length=64,
        n_segments=2, norm_eps=1e-12, embed_norm=True, block="post", pad_id=0,
    )  # fmt: skip
    to_hf(Transformer(config), folder / "bert", "bert")
    (folder / "a.pubtator").write_text(
        "1|t|Aspirin\n1|a|It causes ulcers.\n1\t0\t7\tAspirin\tChemical\tD001241\n\n"
        "2|t|Ulcers\n2|a|They hurt.\n2\t0\t6\tUlcers\tDisease\tD014456\n"
    )
    (folder / "terms.tsv").write_text("MESH:D014456\tulcer\n")
    lines = [f"BRCA1 binds {'TP53' if n % 2 else 'EGFR'} in tumour cells {n}" for n in range(12)]
    texts = "".join(json.dumps({"id": str(n), "text": line}) + "\n" for n, line in enumerate(lines))
    (folder / "genes.jsonl").write_text(texts)
    related = ""
    for n in range(8):
        text = f"drug{n} {('treated', 'induced')[n % 2]} pain{n} in rats."
        ill = text.index("pain")
        related += f"{n}|t|{text}\n{n}|a|Others were well.\n{n}\t0\t5\tdrug{n}\tChemical\tC{n}\n"
        related += f"{n}\t{ill}\t{ill + 5}\tpain{n}\tDisease\tD{n}\n"
        related += f"{n}\tCID\tC{n}\tD{n}\n\n" if n % 2 else "\n"
    (folder / "related.pubtator").write_text(related)
    answer = {"answers": [{"text": "aspirin", "answer_start": 7}], "question": "causes?"}
    asked = [{"context": f"causes aspirin {n}", "qas": [{"id": str(n), **answer}]} for n in range(8)]
    for name, some in (("learned", asked[:4]), ("asked", asked[4:])):
        (folder / f"{name}.json").write_text(json.dumps({"data": [{"paragraphs": some}]}))
    said = {str(n): ("yes", "no")[n % 2] for n in range(12)}
    yesno = {
        n: {"QUESTION": f"Is {n} so?", "CONTEXTS": [f"It was {'well' if word == 'yes' else 'ill'}."],
            "final_decision": word}
        for n, word in said.items()
    }  # fmt: skip
    (folder / "yesno.json").write_text(json.dumps(yesno))
    (folder / "ids.json").write_text(json.dumps({n: said[n] for n in ("0", "1", "2", "3")}))
    (folder / "genes.tsv").write_text("TP53\tcauses ulcers\nBRCA1\taspirin\n")
    organs = ("Heart valve artery", "Brain neuron axon")
    sentences = [f"{organs[n % 2]} {n} hurt. Patients {n} bleed." for n in range(30)]
    texts = "".join(json.dumps({"id": str(n), "text": line}) + "\n" for n, line in enumerate(sentences))
    (folder / "sentences.jsonl").write_text(texts)
    made("answerer", TEXT["text qa train"].line.partition(" -o ")[0], folder)
    made("ner.jsonl", "text convert {i}/a.pubtator", folder)
    made("tagger", TEXT["text ner train"].line.partition(" -o ")[0], folder)


def make_sections(folder: Path) -> None:
    """One small section with its image, prepared, and a model of it."""
    from PIL import Image

    adata, image = _part("tasks/spatial/conftest").make_section(0)
    adata.write_h5ad(folder / "section.h5ad")
    Image.fromarray(image).save(folder / "section.png")
    for name in ("prepare", "train"):
        command = SPATIAL[f"spatial {name}"]
        made(command.output, command.line.partition(" -o ")[0], folder)


MAKERS = (
    (CELLS, make_cells), (SEQUENCES, make_sequences), (GENOMES, make_genomes), (TEXT, make_text),
    (SPATIAL, make_sections),
)  # fmt: skip
"""Commands, and what makes their inputs."""
