"""``biolm fetch``: published weights from the hub."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from biolm.cli.arguments import Common
from biolm.common_options import input_argument
from biolm.errors import ConfigError
from biolm.options import Option
from biolm.progress import log


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(Common):
    """Options of ``biolm fetch``."""

    model: Annotated[
        str, input_argument("A system of biolm models, or ORG/NAME:SUBFOLDER@REVISION of the hub.")
    ]
    cache: Annotated[Path | None, Option(help="Folder to keep it in.", shown="the hub's own")] = None
    accept_licence: Annotated[bool, Option(help="Accept a licence for non-commercial use.")] = False


def run(chosen: Arguments) -> None:
    """Fetch published weights and show their licence.

    Prints the folder. What was fetched before is kept; an interrupted fetch goes on where it stopped. Files
    are held against the hashes that the hub names them by.
    """
    from biolm.models.hub import SAFE_FILES, check_hashes, download, hub_of

    address, hub = hub_of(chosen.model)
    licence = "not known to biolm; see its page" if hub is None else hub.licence
    log.info("%s: licence of the weights: %s", address.repository, licence)
    # Before a byte is fetched: whoever may not use the weights should not have them.
    if hub is not None and not hub.commercial and not chosen.accept_licence:
        raise ConfigError(
            f"the weights of {address.repository} are not for commercial use ({licence}); if you may use "
            "them, say --accept-licence"
        )
    beside, files = ((), SAFE_FILES) if hub is None else (hub.beside, hub.files)
    folder = download(address, beside=beside, files=files, cache_dir=chosen.cache, progress=not chosen.quiet)
    log.info("checking what was fetched against the hashes of the hub")
    checked = check_hashes(folder, *(folder.parent / name for name in beside if address.subfolder))
    log.info("%d files are what the hub holds", checked)
    # Alone on stdout, for $(biolm fetch NAME).
    typer.echo(str(folder))
