"""``biolm text network``: genes or identifiers that are named together."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.text_arguments import TextInput, documents_of
from biolm.common_options import SEED, output_option
from biolm.options import Option


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(TextInput):
    """Options of ``biolm text network``."""

    output: Annotated[Path, output_option("Table of pairs: .tsv, .csv or .parquet.")]
    picture: Annotated[
        Path | None, Option(help="Draw the significant pairs (.png, .svg, .pdf).", panel="Output")
    ] = None
    mentions: Annotated[
        bool, Option(help="Identifiers of mentions in place of gene symbols in the text.")
    ] = False
    species: Annotated[str, Option(help="human or mouse symbols.")] = "human"
    least: Annotated[int, Option(help="Fewest documents that name both.", min=1)] = 2
    most_q: Annotated[float, Option(help="Largest false discovery rate of a drawn pair.")] = 0.05
    # Only the layout of the picture is drawn by chance.
    seed: Annotated[int, dataclasses.replace(SEED, needs=("picture",))] = 0


def run(chosen: Arguments) -> None:
    """Find genes that are named together more often than by chance; one vote a document."""
    import numpy as np

    from biolm.errors import ConfigError
    from biolm.io.table import check_table, write_table
    from biolm.io.text.document import split_ids
    from biolm.text.mining.network import co_mentions, draw_network, gene_symbols_in, graph_of

    check_table(chosen.output, overwrite=chosen.overwrite)
    if chosen.mentions and chosen.species != "human":
        raise ConfigError("`species` is of gene symbols and does nothing for `mentions`; leave it out")
    documents, _ = documents_of(chosen)
    if chosen.mentions:
        names = [{each for m in d.mentions for each in split_ids(m.ids)} for d in documents]
    else:
        names = [gene_symbols_in(document.text, chosen.species) for document in documents]
    pairs = co_mentions(names, least=chosen.least)
    columns = {
        "first": np.array([pair.names[0] for pair in pairs], str),
        "second": np.array([pair.names[1] for pair in pairs], str),
        **{name: np.array([getattr(pair, name) for pair in pairs]) for name in ("both", "left", "right")},
        **{name: np.array([getattr(pair, name) for pair in pairs]) for name in ("npmi", "p", "q")},
    }
    metadata = {"documents": len(documents), "least": chosen.least, "mentions": chosen.mentions}
    write_table(chosen.output, [columns], metadata, schema="biolm.co_mentions/1", overwrite=chosen.overwrite)
    typer.echo(
        f"{len(pairs)} pairs in {len(documents)} documents, {sum(p.q <= chosen.most_q for p in pairs)} "
        "significant"
    )
    if chosen.picture is not None:
        graph = graph_of(pairs, most_q=chosen.most_q, seed=chosen.seed)
        draw_network(graph, chosen.picture, seed=chosen.seed, overwrite=chosen.overwrite)
