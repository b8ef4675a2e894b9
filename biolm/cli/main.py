"""The command line: ``biolm COMMAND``; every command imports what it needs when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

import biolm
from biolm.cli import (
    annotate_fit,
    annotate_genes,
    annotate_predict,
    attention,
    benchmark,
    contacts,
    demo,
    embed,
    entropy,
    evaluate,
    fetch,
    fit_factors,
    generate,
    genes_network,
    genes_vectors,
    inspect,
    merge,
    models,
    pack,
    perturb,
    pretrain,
    schema,
    score_variants,
    search_build,
    search_query,
    spatial_check,
    spatial_deconvolve,
    spatial_domains,
    spatial_embed,
    spatial_predict,
    spatial_prepare,
    spatial_retrieve,
    spatial_train,
    text_attention,
    text_convert,
    text_embed,
    text_evaluate,
    text_gene_vectors,
    text_generate,
    text_link,
    text_name_cells,
    text_nearest,
    text_ner_predict,
    text_ner_train,
    text_network,
    text_pretrain,
    text_qa_answer,
    text_qa_choose,
    text_qa_train,
    text_qa_yesno,
    text_relate,
    text_topics,
    tokenize,
)
from biolm.cli.arguments import add
from biolm.cli.last_word import leave_for_sure

__all__ = ["COMMANDS", "app", "run"]

app = typer.Typer(
    name="biolm",
    help="Foundation models on sequences and single cells.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"biolm {biolm.__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Foundation models on sequences and single cells."""


COMMANDS = {
    "demo": demo,
    "embed": embed,
    "tokenize": tokenize,
    "merge": merge,
    "fit-factors": fit_factors,
    "pack": pack,
    "pretrain": pretrain,
    "models": models,
    "fetch": fetch,
    "inspect": inspect,
    "attention": attention,
    "contacts": contacts,
    "entropy": entropy,
    "score-variants": score_variants,
    "annotate fit": annotate_fit,
    "annotate predict": annotate_predict,
    "annotate genes": annotate_genes,
    "search build": search_build,
    "search query": search_query,
    "perturb": perturb,
    "spatial check": spatial_check,
    "spatial prepare": spatial_prepare,
    "spatial train": spatial_train,
    "spatial embed": spatial_embed,
    "spatial predict": spatial_predict,
    "spatial retrieve": spatial_retrieve,
    "spatial domains": spatial_domains,
    "spatial deconvolve": spatial_deconvolve,
    "genes vectors": genes_vectors,
    "genes network": genes_network,
    "evaluate": evaluate,
    "benchmark": benchmark,
    "generate": generate,
    "text convert": text_convert,
    "text ner train": text_ner_train,
    "text ner predict": text_ner_predict,
    "text embed": text_embed,
    "text nearest": text_nearest,
    "text attention": text_attention,
    "text link": text_link,
    "text relate": text_relate,
    "text qa train": text_qa_train,
    "text qa answer": text_qa_answer,
    "text qa yesno": text_qa_yesno,
    "text qa choose": text_qa_choose,
    "text generate": text_generate,
    "text name-cells": text_name_cells,
    "text gene-vectors": text_gene_vectors,
    "text topics": text_topics,
    "text network": text_network,
    "text evaluate": text_evaluate,
    "text pretrain": text_pretrain,
    "schema": schema,
}
"""Every command by name; the module of a command offers ``run`` and the dataclass ``Arguments``."""

GROUPS = {
    "annotate": "Cell-type annotation from labelled cells.",
    "search": "Find the most similar cells of a reference.",
    "genes": "Vectors and networks of genes.",
    "text": "Read, tag, embed, ask and mine the literature.",
    "text ner": "Named entities: train a tagger, tag documents.",
    "text qa": "Questions: answers in a text, yes or no, multiple choice.",
    "spatial": "Tissue sections: genes and image.",
}
"""What the commands whose names begin with a word do together."""

_groups = {"": app}
for _name, _help in GROUPS.items():
    _above, _, _last = _name.rpartition(" ")
    _groups[_name] = typer.Typer(name=_last, help=_help, no_args_is_help=True)
    _groups[_above].add_typer(_groups[_name])
for _name, _module in COMMANDS.items():
    _group, _, _word = _name.rpartition(" ")
    add(_groups[_group], _word, _module.run, _module.Arguments)


def run() -> None:
    """Entry point of the ``biolm`` script.

    Exit status: 0 done, 1 failed, 2 wrong use, 130 interrupted, 141 nobody reads the output.
    """
    # A scheduler that ends a job sends TERM: leave like a program that was interrupted, tidily.
    end = leave_for_sure()
    try:
        app(prog_name="biolm")
    finally:
        end()
