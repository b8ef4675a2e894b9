"""``biolm text link``: identifiers of mentions."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from biolm.cli.text_arguments import TextInput, documents_of
from biolm.common_options import Format, model_option, output_option
from biolm.options import Option
from biolm.progress import log


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(TextInput):
    """Options of ``biolm text link``."""

    output: Annotated[Path, output_option("File to write, in any format with identifiers.")]
    terms: Annotated[Path | None, Option(help="Dictionary: .obo, or tab-separated id and names.")] = None
    genes: Annotated[bool, Option(help="Add the gene table's symbols and aliases.")] = False
    species: Annotated[str, Option(help="human or mouse, with --genes.", needs=("genes",))] = "human"
    names_of: Annotated[Path | None, Option(help="Annotated documents whose names are added.")] = None
    kind: Annotated[str | None, Option(help="Link mentions of this type alone.", shown="all")] = None
    model: Annotated[str | None, model_option("Encoder for names that match none.", shown="none")] = None
    least: Annotated[float, Option(help="Least cosine of such a name.", needs=("model",))] = 0.75
    find: Annotated[
        bool, Option(help="First find the dictionary's names in the texts; --kind names them.")
    ] = False
    format: Format = None


def run(chosen: Arguments) -> None:
    """Link mentions to identifiers of a dictionary.

    Abbreviations are expanded first; ambiguous names keep all candidates.
    """
    from biolm.errors import ConfigError
    from biolm.io.atomic import refuse_existing
    from biolm.io.text import write_documents
    from biolm.io.text.terms import read_terms
    from biolm.text.embed import load_encoder
    from biolm.text.link.linker import Linker, LinkReport, gene_names, trained_names
    from biolm.text.link.names import NameTagger
    from biolm.text.models import model_folder

    if chosen.find and chosen.kind is None:
        raise ConfigError("--find needs --kind, the type of the mentions that it finds")
    refuse_existing(chosen.output, overwrite=chosen.overwrite)
    documents, _ = documents_of(chosen)
    terms = list(read_terms(chosen.terms)) if chosen.terms is not None else []
    terms += gene_names(chosen.species) if chosen.genes else []
    if chosen.names_of is not None:
        named, _ = documents_of(chosen, chosen.names_of)
        terms += trained_names(named, None if chosen.kind is None else [chosen.kind])
    if not terms:
        raise ConfigError("give a dictionary: --terms, --genes or --names-of")
    encoder = None if chosen.model is None else load_encoder(model_folder(chosen.model))
    linker, report = Linker(terms, encoder, chosen.least), LinkReport()
    if chosen.find:
        tagger = NameTagger((str(chosen.kind), identifier, name) for identifier, name in terms)
        documents = [tagger(document) for document in documents]
    linked = [linker.link(document, report, kind=chosen.kind) for document in documents]
    losses = write_documents(linked, chosen.output, format=chosen.format, overwrite=chosen.overwrite)
    log.info("%s", report)
    if losses:
        log.info("%s", losses)
