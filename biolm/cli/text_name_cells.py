"""``biolm text name-cells``: cell types from marker genes, by a language model that is checked."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import Common
from biolm.cli.text_arguments import KeyVariable, Timeout
from biolm.common_options import SPECIES, Seed, input_argument, model_option
from biolm.options import Option


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Options of ``biolm text name-cells``."""

    input: Annotated[Path, input_argument("Markers: cluster, a tab, genes by comma, the strongest first.")]
    ontology: Annotated[Path, Option(help="The Cell Ontology: .obo, .json or .tsv.")]
    server: Annotated[str, Option(help="Address, such as http://127.0.0.1:11434/v1 (ollama).")]
    model: Annotated[str, model_option("Name of the model on the server.")]
    key_variable: KeyVariable = ""
    repeats: Annotated[int, Option(help="Times that each list is asked about.", min=2)] = 5
    controls: Annotated[int, Option(help="Random lists asked about.", min=1)] = 4
    temperature: Annotated[float, Option(help="Of the answers.", min=0)] = 0.7
    tissue: Annotated[str, Option(help="Said in the question.", shown="not said")] = ""
    species: Annotated[str, replace(SPECIES, shown=None, panel=None, only=())] = "human"
    timeout: Timeout = 60.0
    seed: Seed = 0


def run(chosen: Arguments) -> None:
    """Name clusters from their marker genes; every name is asked for several times and checked.

    A name is given only where the answers agree, stand in the ontology, rest on markers of the list, and the
    model does not name random genes as well.
    """
    from biolm.io.text.source import lines_of
    from biolm.tasks.annotate.ontology import read_ontology
    from biolm.tasks.text.naming import NamingSettings, name_cells
    from biolm.text.chat.client import ChatClient, ChatOptions

    markers = {}
    for _, line in lines_of(chosen.input):
        cluster, _, genes = line.partition("\t")
        if line.strip():
            markers[cluster] = [gene.strip() for gene in genes.split(",") if gene.strip()]
    settings = NamingSettings(
        repeats=chosen.repeats,
        controls=chosen.controls,
        tissue=chosen.tissue,
        species=chosen.species,
        seed=chosen.seed,
    )
    client = ChatClient(chosen.server, chosen.model, chosen.key_variable, chosen.timeout)

    def ask(prompt: str, number: int) -> str:
        # Another seed for each question, or the repeats would be one answer several times.
        return client.ask(prompt, ChatOptions(temperature=chosen.temperature, seed=chosen.seed + number))

    typer.echo("cluster\tname\tterm\tagreement\tconfident\tflags")
    for cluster, named in name_cells(markers, ask, read_ontology(chosen.ontology), settings).items():
        row = [cluster, named.name, named.term, f"{named.agreement:.2f}", str(named.confident).lower()]
        typer.echo("\t".join([*row, "; ".join(named.flags)]))
