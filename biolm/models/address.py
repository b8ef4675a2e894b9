"""What a user types to name a model: a name or folder, a hub repository, and options of the system.

``FOLDER?padding=masked&assay=Smart-seq2`` is a folder with options of its system;
``ORG/NAME:SUBFOLDER@REVISION`` a repository of the hub, one folder of it, at a branch, tag or commit. With
``hf:`` before it, it is one in any case; without, only where ``ORG`` is no folder of this machine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from biolm.errors import ConfigError

__all__ = ["HubAddress", "hub_address", "remote_address", "split_options"]

HUB = "hf:"
_HUB = re.compile(
    r"(?P<repository>[\w-][\w.-]*/[\w.-]+)(?::(?P<subfolder>[\w.+-]+(?:/[\w.+-]+)*))?(?:@(?P<revision>[\w./+-]+))?"
)


@dataclass(frozen=True, slots=True)
class HubAddress:
    """A repository of the hub.

    Parameters
    ----------
    repository
        ``org/name``.
    subfolder
        Folder of the repository that holds the checkpoint; empty for its top.
    revision
        Branch, tag or commit; None for the newest.
    """

    repository: str
    subfolder: str = ""
    revision: str | None = None


def hub_address(text: str) -> HubAddress | None:
    """A hub repository as users spell it; None where the text is none.

    Examples
    --------
    >>> hub_address("ctheodoris/Geneformer:Geneformer-V2-104M@main")
    HubAddress(repository='ctheodoris/Geneformer', subfolder='Geneformer-V2-104M', revision='main')
    >>> hub_address("./folder") is None
    True
    """
    match = _HUB.fullmatch(text.removeprefix(HUB))
    if match is None or ".." in re.split(r"[/:@]", text):
        return None
    return HubAddress(match["repository"], match["subfolder"] or "", match["revision"])


def remote_address(text: str) -> HubAddress | None:
    """The hub repository that a user means by what is no folder here; None where a folder is meant.

    Raises
    ------
    ConfigError
        If the text may be a repository or a folder that was mistyped.

    Examples
    --------
    >>> remote_address("hf:facebook/esm2_t6_8M_UR50D")
    HubAddress(repository='facebook/esm2_t6_8M_UR50D', subfolder='', revision=None)
    """
    address = hub_address(text)
    # `data/model` with a folder `data` here is a slip of the pen, which must not ask the network.
    if address is None or text.startswith(HUB) or not Path(address.repository).parent.exists():
        return address
    raise ConfigError(
        f"there is no folder '{text}', though there is {Path(address.repository).parent}; if a repository of "
        f"the hub is meant, write {HUB}{text}"
    )


def split_options(text: str) -> tuple[str, dict[str, str]]:
    """The name or folder, and the options behind its question mark; values may be quoted as in a URL.

    Raises
    ------
    ConfigError
        If an option has no value, or comes twice.

    Examples
    --------
    >>> split_options("checkpoints/uce?padding=masked&species=human")
    ('checkpoints/uce', {'padding': 'masked', 'species': 'human'})
    """
    name, mark, rest = text.partition("?")
    # A file may have a question mark in its name.
    if not mark or Path(text).expanduser().exists():
        return text, {}
    options: dict[str, str] = {}
    for pair in rest.split("&"):
        key, equals, value = pair.partition("=")
        if not (key and equals and value):
            raise ConfigError(f"'{pair}' of the model '{text}' is no option; write name=value")
        if key in options:
            raise ConfigError(f"the model '{text}' has the option {key} twice; give it once")
        options[key] = unquote(value)
    return name, options
