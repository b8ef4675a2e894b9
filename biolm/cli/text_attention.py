"""``biolm text attention``: where each head looks in a text."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from biolm.cli.arguments import Common
from biolm.common_options import Overwrite, input_argument, model_option, output_option
from biolm.options import Option


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Options of ``biolm text attention``."""

    text: Annotated[str, input_argument("Text to read.")]
    output: Annotated[Path, output_option("A map as .png, .svg, .pdf or .npy; all heads as .html.")]
    model: Annotated[str, model_option("Folder, hub id, or minilm.")] = "minilm"
    layer: Annotated[int, Option(help="Layer from 0, -1 the last.")] = -1
    head: Annotated[int | None, Option(help="Head from 0.", shown="mean of all")] = None
    words: Annotated[bool, Option(help="Merge pieces to words.")] = False
    overwrite: Overwrite = False


def run(chosen: Arguments) -> None:
    """Draw the attention of a layer and head over a text, or write a page with all heads."""
    import numpy as np

    from biolm.errors import ConfigError
    from biolm.io.atomic import refuse_existing, replacing
    from biolm.text.attention import attention_of_text, draw_map, load_reader, write_page
    from biolm.text.models import model_folder

    ending = chosen.output.suffix.lower()
    if ending not in (".png", ".svg", ".pdf", ".npy", ".html"):
        raise ConfigError(f"{chosen.output} must end in .png, .svg, .pdf, .npy or .html")
    if ending == ".html" and (chosen.layer != -1 or chosen.head is not None):
        raise ConfigError("a page shows all layers and heads; leave out --layer and --head")
    refuse_existing(chosen.output, overwrite=chosen.overwrite)
    core, tokenizer = load_reader(model_folder(chosen.model))
    attention = attention_of_text(core, tokenizer, chosen.text, words=chosen.words)
    if ending == ".html":
        write_page(attention, chosen.output, overwrite=chosen.overwrite)
    elif ending == ".npy":
        with replacing(chosen.output, overwrite=chosen.overwrite) as path:
            np.save(path, attention.map(chosen.layer, chosen.head))
    else:
        draw_map(attention, chosen.output, chosen.layer, chosen.head, overwrite=chosen.overwrite)
