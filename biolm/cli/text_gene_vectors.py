"""``biolm text gene-vectors``: genes as vectors of what is written about them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from biolm.cli.arguments import Common
from biolm.common_options import Encoder, Overwrite, input_argument, output_option
from biolm.progress import log


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Options of ``biolm text gene-vectors``."""

    input: Annotated[Path, input_argument("Texts of genes: Ensembl id or symbol, a tab, the text.")]
    output: Annotated[Path, output_option("Folder to write, for biolm embed --model.")]
    model: Encoder = "minilm"
    overwrite: Overwrite = False


def run(chosen: Arguments) -> None:
    """Write vectors of genes from texts about them (as GenePT), as a model of cells for biolm embed."""
    from biolm.io.atomic import refuse_existing
    from biolm.text.embed import load_encoder
    from biolm.text.gene_text import gene_vectors, read_gene_texts, write_gene_vectors
    from biolm.text.models import model_folder

    refuse_existing(chosen.output, overwrite=chosen.overwrite)
    texts = read_gene_texts(chosen.input)
    genes, vectors = gene_vectors(texts, load_encoder(model_folder(chosen.model)))
    about = {"encoder": Path(chosen.model).name, "texts": chosen.input.name}
    write_gene_vectors(genes, vectors, chosen.output, about, overwrite=chosen.overwrite)
    log.info("%d of %d genes known; wrote %s", len(genes), len(texts), chosen.output)
