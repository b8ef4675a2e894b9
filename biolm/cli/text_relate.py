"""``biolm text relate``: relations between the entities of documents."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from biolm.cli.text_arguments import TextInput, documents_of
from biolm.common_options import Format, Seed, output_option
from biolm.options import Option
from biolm.progress import log


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(TextInput):
    """Options of ``biolm text relate``."""

    train: Annotated[Path, Option(help="Documents with mentions, identifiers and relations.")]
    output: Annotated[Path, output_option("File to write.")]
    kinds: Annotated[str, Option(help="The two types of entities, with a comma.")] = "Chemical,Disease"
    relation: Annotated[str, Option(help="Type of the relations.")] = "CID"
    format: Format = None
    seed: Seed = 0


def run(chosen: Arguments) -> None:
    """Predict relations between entities, learnt from documents with known ones.

    Mentions and identifiers are those of the input, given or predicted; the threshold is chosen on the
    training documents alone.
    """
    from biolm.errors import ConfigError
    from biolm.io.atomic import refuse_existing
    from biolm.io.text import write_documents
    from biolm.text.link.relations import RelationModel

    kinds = tuple(chosen.kinds.split(","))
    if len(kinds) != 2:
        raise ConfigError(f"--kinds must be two types with a comma, not {chosen.kinds!r}")
    refuse_existing(chosen.output, overwrite=chosen.overwrite)
    train, _ = documents_of(chosen, chosen.train)
    documents, _ = documents_of(chosen)
    model = RelationModel((kinds[0], kinds[1]), chosen.relation, seed=chosen.seed).fit(train)
    related = model.predict(documents)
    losses = write_documents(related, chosen.output, format=chosen.format, overwrite=chosen.overwrite)
    log.info("%d relations in %d documents", sum(len(each.relations) for each in related), len(related))
    if losses:
        log.info("%s", losses)
