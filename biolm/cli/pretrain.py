"""``biolm pretrain``: a YAML of settings to a folder with a model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import Common, print_json
from biolm.common_options import Json, Resume, input_argument, output_option
from biolm.errors import ConfigError
from biolm.options import Option
from biolm.progress import log


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Options of ``biolm pretrain``."""

    config: Annotated[Path, input_argument("YAML file with the settings of the run.")]
    output: Annotated[Path | None, output_option("Folder of the run.", shown="none")] = None
    set: Annotated[
        list[str] | None, Option(help="section.key=value in place of the file's; repeatable.", shown="none")
    ] = None
    resume: Resume = False
    dry_run: Annotated[bool, Option(help="Print sizes, parameters, steps and memory; train nothing.")] = False
    json: Json = False


def run(chosen: Arguments) -> None:
    """Train a model on cells, sequences or stored tokens.

    Writes the resolved config, metrics.csv, checkpoints and the model into a folder.
    """
    from biolm.tasks.pretrain import plan_pretraining, pretrain

    changes = chosen.set or []
    if chosen.dry_run:
        if chosen.resume:
            raise ConfigError("`resume` goes on with a run and `dry_run` trains nothing; give one of them")
        sizes = plan_pretraining(chosen.config, changes=changes)
        width = max(map(len, sizes))
        lines = [f"{name:<{width}}  {value:>15,}" for name, value in sizes.items()]
        typer.echo(json.dumps(sizes, indent=1) if chosen.json else "\n".join(lines))
        return
    if chosen.output is None:
        raise ConfigError("name a folder for the run with --output, or look at its sizes with --dry-run")
    result = pretrain(chosen.config, chosen.output, changes=changes, resume=chosen.resume)
    # Under torchrun every process runs this; one of them reports.
    if not result.first:
        return
    log.info("wrote %s after %d steps", result.model, result.steps)
    if chosen.json:
        summary = {"model": str(result.model), "steps": result.steps, "scores": result.scores}
        print_json(summary)
