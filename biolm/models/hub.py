"""Where published weights are: the hub repository of each system, its licence, and how to fetch it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biolm.errors import CheckpointError, ConfigError
from biolm.extras import advice
from biolm.io.damage import reason_of
from biolm.models.address import HubAddress, hub_address
from biolm.models.catalogue import BUILT_IN
from biolm.progress import log

__all__ = ["HUBS", "SAFE_FILES", "Hub", "check_hashes", "download", "hub_of", "where_to_get"]

# What may be fetched from a hub: weights that hold no code, tables, and text.
SAFE_FILES = (
    *("*.safetensors", "*.json", "*.txt", "*.md", "*.bin", "*.pt", "*.pth", "*.ckpt", "*.torch", "*.pkl"),
    *("*.model", "*.csv", "*.tsv", "*.yaml", "*.yml", "*.npy", "*.h5"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """Where a system's weights are.

    Parameters
    ----------
    address
        ``org/name:subfolder`` of one checkpoint of the system.
    licence
        Of the weights.
    commercial
        Whether it allows commercial use.
    beside
        Folders of the repository that every checkpoint of it needs.
    files
        Names of the files that are fetched, where the folder holds others too.
    """

    address: str
    licence: str
    commercial: bool = True
    beside: tuple[str, ...] = ()
    files: tuple[str, ...] = SAFE_FILES


HUBS: Mapping[str, Hub] = {
    "geneformer": Hub(
        address="ctheodoris/Geneformer:Geneformer-V2-104M", licence="Apache-2.0", beside=("geneformer",)
    ),
    "scconcept": Hub(address="theislab/scConcept:corpus40M-model30M", licence="MIT"),
    "cell2sentence": Hub(
        address="vandijklab/C2S-Pythia-410m-cell-type-prediction",
        licence="not stated on its page; other C2S-Pythia models are CC-BY-NC-ND-4.0",
        commercial=False,
    ),
    "tgpt": Hub(address="lixiangchun/transcriptome-gpt-1024-8-16-64", licence="see its page; code GPL-3.0"),
    "tahoe": Hub(address="tahoebio/Tahoe-x1:70m-model", licence="see its page; code Apache-2.0"),
    "scprint": Hub(
        address="jkobject/scPRINT",
        licence="Apache-2.0",
        files=("small.ckpt", "medium.ckpt", "large.ckpt", "v2-medium.ckpt", "README.md"),
    ),
    "esm": Hub(address="facebook/esm2_t33_650M_UR50D", licence="MIT"),
    "hyenadna": Hub(address="LongSafari/hyenadna-tiny-1k-seqlen-hf", licence="BSD-3-Clause"),
    "dnabert2": Hub(address="zhihan1996/DNABERT-2-117M", licence="Apache-2.0"),
    "nucleotide_transformer": Hub(
        address="InstaDeepAI/nucleotide-transformer-v2-100m-multi-species",
        licence="CC-BY-NC-SA-4.0",
        commercial=False,
    ),
    "evo2": Hub(address="arcinstitute/evo2_7b", licence="Apache-2.0"),
    "evo1": Hub(address="togethercomputer/evo-1-8k-base", licence="Apache-2.0"),
}
"""Systems whose weights are on the hub; those of others are had from their authors' own pages."""

_ELSEWHERE = {
    "scgpt": "the model zoo of github.com/bowang-lab/scGPT",
    "uce": "figshare, by the evaluate.py of github.com/snap-stanford/UCE",
    "transcriptformer": "the command 'transcriptformer download' of github.com/czi-ai/transcriptformer",
    "scfoundation": "the link in github.com/biomap-research/scFoundation, for non-commercial research",
    "scbert": "its authors, who are named in github.com/TencentAILabHealthcare/scBERT",
    "celllm": "the link in github.com/BioFM/OpenBioMed",
    "nicheformer": "Mendeley Data, record 87gm9hrgm8",
    "scimilarity": "Zenodo, record 10685499",
    "concerto": "your own run of Concerto, as none are published",
    "cellplm": "the link in github.com/OmicsML/CellPLM",
    "sctrans": "your own run of github.com/zou-zhiyi/scTrans, as none are published",
}


def hub_of(name: str) -> tuple[HubAddress, Hub | None]:
    """The hub address of a system's name, or of an address itself, and what is known of its repository.

    Raises
    ------
    ConfigError
        If it is neither, or the system's weights are not on the hub.
    """
    if name in HUBS:
        parsed = hub_address(HUBS[name].address)
        assert parsed is not None
        return parsed, HUBS[name]
    address = hub_address(name)
    if address is None:
        if any(entry.name == name and entry.built_in for entry in BUILT_IN):
            raise ConfigError(f"{name} is loaded by its name alone; there is nothing to fetch")
        if name in _ELSEWHERE:
            raise ConfigError(f"the weights of {name} are not on the hub; get them from {_ELSEWHERE[name]}")
        known = ", ".join(HUBS)
        raise ConfigError(
            f"'{name}' is no hub repository; write ORG/NAME:SUBFOLDER@REVISION, or one of {known}"
        )
    # Another checkpoint of a known repository has the same licence and side files.
    for hub in HUBS.values():
        other = hub_address(hub.address)
        if other is not None and other.repository == address.repository:
            return address, hub
    return address, None


def where_to_get(name: str) -> str:
    """How to get the weights of a system, as the end of a sentence; empty where nothing is known.

    Examples
    --------
    >>> where_to_get("geneformer")
    'fetch one with: biolm fetch ctheodoris/Geneformer:Geneformer-V2-104M'
    """
    if name in HUBS:
        return f"fetch one with: biolm fetch {HUBS[name].address}"
    return f"get one from {_ELSEWHERE[name]}" if name in _ELSEWHERE else ""


def download(
    address: HubAddress,
    *,
    beside: tuple[str, ...] = (),
    files: tuple[str, ...] = SAFE_FILES,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    progress: bool = False,
) -> Path:
    """Folder with the files of a checkpoint; what was fetched before is kept, and a broken fetch goes on.

    Parameters
    ----------
    address
        Repository, folder of it, and revision.
    beside
        Other folders of the repository that it needs.
    files
        Names of the files that are fetched.
    cache_dir, local_files_only
        Where files are kept; never ask the network.
    progress
        Draw a bar for each file.

    Raises
    ------
    ConfigError
        If the extra ``hub`` is not installed.
    CheckpointError
        If it cannot be fetched, or the repository has no such folder.
    """
    try:
        import huggingface_hub
        from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars
    except ImportError as error:
        raise ConfigError(
            f"there is no folder {address.repository} here, and fetching it as a hub id needs "
            f"huggingface_hub: {advice('hub')}"
        ) from error
    endpoint = huggingface_hub.constants.ENDPOINT.removeprefix("https://")
    log.info("asking the hub (%s) for %s", endpoint, address.repository)
    # Patterns name the one folder, or a repository of many models would be fetched whole.
    tops = (address.subfolder, *beside) if address.subfolder else ("",)
    patterns = [f"{top}/{name}" if top else name for top in tops for name in files]
    (enable_progress_bars if progress else disable_progress_bars)()
    options: dict[str, Any] = {"revision": address.revision, "cache_dir": cache_dir}
    try:
        whole = huggingface_hub.snapshot_download(
            address.repository, local_files_only=local_files_only, allow_patterns=patterns, **options
        )
    # What a mirror or a proxy answers fails in many ways, and each version of the library has its own errors.
    except Exception as error:
        raise CheckpointError(
            f"there is no folder {address.repository} here, and it could not be fetched from the hub "
            f"at {endpoint} ({reason_of(error)}); {_remedy(error)}, or give a local folder"
        ) from error
    finally:
        enable_progress_bars()
    folder = Path(whole) / address.subfolder
    if not folder.is_dir():
        folders = sorted(
            path.name for path in Path(whole).iterdir() if path.is_dir() and path.name not in beside
        )
        raise CheckpointError(
            f"the hub repository {address.repository} has no folder {address.subfolder}"
            + (f" but {', '.join(folders)}" if folders else "")
        )
    return folder


def _remedy(error: Exception) -> str:
    """What to do about a fetch that failed."""
    if type(error).__name__ in ("GatedRepoError", "DisabledRepoError"):
        return "accept the conditions on its page and log in (hf auth login)"
    return "check the name and the network, and fetch again"


def check_hashes(*folders: Path) -> int:
    """Compare fetched files with the hashes that the hub names them by; gives how many have one.

    The cache of huggingface_hub keeps each file under its hash: the SHA-256 of large ones, git's of small
    ones.

    Raises
    ------
    CheckpointError
        If a file is not what the hub holds.
    """
    checked = 0
    for path in sorted(path for folder in folders for path in folder.rglob("*") if path.is_symlink()):
        stored = path.resolve()
        if not stored.is_file() or not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", stored.name):
            continue
        checked += 1
        if _hash(stored, git=len(stored.name) == 40) != stored.name:
            raise CheckpointError(
                f"{path} is not what the hub holds: it was damaged on the way or on the disk; delete "
                f"{stored} and fetch again"
            )
    return checked


def _hash(path: Path, *, git: bool) -> str:
    with path.open("rb") as file:
        if not git:
            return hashlib.file_digest(file, "sha256").hexdigest()
        content = file.read()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
