"""``biolm text generate``: text from a local model, or from a server."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from biolm.cli.arguments import Common
from biolm.cli.text_arguments import KeyVariable, Timeout
from biolm.common_options import Seed, input_argument, model_option
from biolm.options import Option


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Options of ``biolm text generate``."""

    prompt: Annotated[str, input_argument("What the text goes on from, or the question.")]
    model: Annotated[str, model_option("Folder or hub id; with --server its name there.")]
    server: Annotated[
        str | None, Option(help="Address up to the version, such as http://127.0.0.1:11434/v1 (ollama).")
    ] = None
    key_variable: KeyVariable = ""
    timeout: Timeout = 60.0
    max_tokens: Annotated[int, Option(help="Most tokens to generate.", min=1)] = 64
    temperature: Annotated[float, Option(help="0 takes the most likely token.", min=0)] = 0.0
    top_p: Annotated[
        float, Option(help="Sample from the fewest tokens of this probability.", needs=("temperature",))
    ] = 1.0
    frequency_penalty: Annotated[float, Option(help="Per earlier generation of a token.")] = 0.0
    presence_penalty: Annotated[float, Option(help="For tokens generated before.")] = 0.0
    seed: Seed = 0


def run(chosen: Arguments) -> None:
    """Generate text and print it."""
    shared = {
        name: getattr(chosen, name)
        for name in ("max_tokens", "temperature", "top_p", "frequency_penalty", "presence_penalty", "seed")
    }
    if chosen.server is not None:
        from biolm.text.chat.client import ChatClient, ChatOptions

        client = ChatClient(chosen.server, chosen.model, chosen.key_variable, chosen.timeout)
        for piece in client.stream(chosen.prompt, ChatOptions(**shared)):
            typer.echo(piece, nl=False)
        typer.echo()
        return
    from biolm.core.sampling import SamplingOptions
    from biolm.text.chat.local import load_writer, write_text
    from biolm.text.models import model_folder

    core, tokenizer = load_writer(model_folder(chosen.model))
    [text] = write_text(core, tokenizer, [chosen.prompt], SamplingOptions(**shared))
    typer.echo(text)
