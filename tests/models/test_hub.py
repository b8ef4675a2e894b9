"""Hub repositories by name, with a folder and a revision, on a local mirror of the hub's layout."""

from __future__ import annotations

import hashlib
import json
import shutil
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
import small_systems
from typer.testing import CliRunner

from biolm.cli.main import app
from biolm.errors import CheckpointError, ConfigError
from biolm.models import registry
from biolm.models.address import HubAddress, hub_address, split_options
from biolm.models.hub import HUBS, check_hashes, hub_of, where_to_get
from biolm.text.models import model_folder

REPOSITORY = "ctheodoris/Geneformer"


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """Two checkpoints beside one folder of dictionaries; fetching copies what is asked for."""
    hub = pytest.importorskip("huggingface_hub")
    source = tmp_path / "hub" / REPOSITORY
    for name, size in (("Geneformer-V1-10M", 3), ("Geneformer-V2-104M", 4)):
        (source / name).mkdir(parents=True)
        (source / name / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": size}))
        (source / name / "model.safetensors").write_bytes(b"weights")
        (source / name / "run.py").write_text("code")
    (source / "geneformer").mkdir()
    (source / "geneformer" / "token_dictionary.json").write_text(
        json.dumps({"<pad>": 0, "ENSG00000167286": 1})
    )
    calls = []

    def snapshot_download(name: str, **options: object) -> str:
        calls.append({"name": name, **options})
        cache = Path(options["cache_dir"] or tmp_path / "cache")
        target = (
            cache / f"models--{name.replace('/', '--')}" / "snapshots" / str(options["revision"] or "main")
        )
        for path in (tmp_path / "hub" / name).rglob("*"):
            place = path.relative_to(tmp_path / "hub" / name)
            if path.is_file() and any(fnmatch(str(place), pattern) for pattern in options["allow_patterns"]):
                (target / place).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target / place)
        return str(target)

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    return calls


def test_a_mistyped_folder_asks_nobody(
    mirror: list[dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ctheodoris").mkdir()
    for ask in (registry.resolve, model_folder):
        with pytest.raises(ConfigError, match="of the hub is meant, write hf:ctheodoris/Gene"):
            ask(REPOSITORY)
    assert mirror == []
    entry, _ = registry.resolve(f"hf:{REPOSITORY}:Geneformer-V2-104M")
    assert (entry.name, len(mirror)) == ("geneformer", 1)


def test_asking_the_hub_is_said(mirror: list[dict], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "biolm"):
        registry.resolve(f"{REPOSITORY}:Geneformer-V2-104M")
    assert f"asking the hub (huggingface.co) for {REPOSITORY}" in caplog.text


def test_of_a_repository_of_many_files_those_of_the_system_are_fetched(
    mirror: list[dict], tmp_path: Path
) -> None:
    source = tmp_path / "hub" / "jkobject" / "scPRINT"
    source.mkdir(parents=True)
    small_systems.scprint(source)
    (source / "cell-transformer.ckpt").write_bytes(b"another model")
    entry, folder = registry.resolve("jkobject/scPRINT@main")
    assert entry.name == "scprint"
    assert [path.name for path in folder.iterdir()] == ["medium.ckpt"]


def test_a_folder_of_a_repository_with_what_lies_beside_it(mirror: list[dict]) -> None:
    entry, folder = registry.resolve(f"{REPOSITORY}:Geneformer-V2-104M@v1.2")
    assert entry.name == "geneformer"
    assert folder.name == "Geneformer-V2-104M"
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert (folder.parent / "geneformer" / "token_dictionary.json").is_file()
    assert not (folder.parent / "Geneformer-V1-10M").exists()
    assert (mirror[0]["name"], mirror[0]["revision"]) == (REPOSITORY, "v1.2")


def test_a_folder_that_is_not_there_names_those_that_are(mirror: list[dict]) -> None:
    with pytest.raises(CheckpointError, match="has no folder Geneformer-V9"):
        registry.resolve(f"{REPOSITORY}:Geneformer-V9")
    assert len(mirror) == 1


def test_fetch_prints_folder_and_licence(mirror: list[dict], tmp_path: Path) -> None:
    runner = CliRunner()
    done = runner.invoke(app, ["fetch", "geneformer", "--cache", str(tmp_path / "mine")])
    assert done.exit_code == 0, done.output
    folder = Path(done.stdout.strip().splitlines()[-1])
    assert folder.is_relative_to(tmp_path / "mine")
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert "Apache-2.0" in done.output
    assert len(mirror) == 1
    refused = runner.invoke(app, ["fetch", "nucleotide_transformer"])
    assert refused.exit_code == 2
    assert "--accept-licence" in refused.output
    assert len(mirror) == 1


def test_embedding_by_repository_folder_and_revision(
    mirror: list[dict], tmp_path: Path, shipped_cells: Path
) -> None:
    source = tmp_path / "hub" / REPOSITORY
    shutil.rmtree(source)
    (source / "Geneformer-V2-104M").mkdir(parents=True)
    local = small_systems.geneformer(source / "Geneformer-V2-104M")
    cells, made = shipped_cells / "pbmc68k_reduced_counts_700.h5ad", []
    for number, model in enumerate((local, f"{REPOSITORY}:Geneformer-V2-104M@v1.2")):
        output = tmp_path / f"{number}.npy"
        run = CliRunner().invoke(
            app, ["embed", str(cells), "-m", model, "-o", str(output), "--device", "cpu"]
        )
        assert run.exit_code == 0, run.output
        made.append(np.load(output))
    assert mirror[0]["revision"] == "v1.2"
    assert np.array_equal(*made)


def test_a_licence_is_accepted_by_saying_so(mirror: list[dict], tmp_path: Path) -> None:
    source = tmp_path / "hub" / "InstaDeepAI/nucleotide-transformer-v2-100m-multi-species"
    source.mkdir(parents=True)
    (source / "config.json").write_text("{}")
    done = CliRunner().invoke(app, ["fetch", "nucleotide_transformer", "--accept-licence"])
    assert done.exit_code == 0, done.output
    assert "CC-BY-NC-SA-4.0" in done.output


def test_an_interrupted_fetch_is_one_sentence_and_goes_on(
    mirror: list[dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub as hub

    whole = hub.snapshot_download

    def interrupted(name: str, **options: object) -> str:
        folder = Path(whole(name, **options)) / "Geneformer-V2-104M"
        (folder / "model.safetensors").unlink()
        raise OSError("connection reset")

    monkeypatch.setattr(hub, "snapshot_download", interrupted)
    command = ["fetch", "geneformer", "--cache", str(tmp_path / "mine")]
    failed = CliRunner().invoke(app, command)
    assert failed.exit_code == 1
    errors = [line for line in failed.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert "connection reset" in errors[0]
    # What came is kept.
    assert list((tmp_path / "mine").rglob("config.json"))
    monkeypatch.setattr(hub, "snapshot_download", whole)
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert list((tmp_path / "mine").rglob("model.safetensors"))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (json.JSONDecodeError("Expecting value", "<html>log in</html>", 0), "check the name and the network"),
        (RuntimeError("peer closed connection (received 19 bytes, expected 39)"), "expected 39"),
        (KeyError("siblings"), "it lacks 'siblings'"),
        (type("GatedRepoError", (Exception,), {})("401 Client Error."), "accept the conditions on its page"),
    ],
    ids=["a page of a proxy", "cut short", "another answer", "gated"],
)
def test_whatever_a_broken_mirror_answers_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    hub = pytest.importorskip("huggingface_hub")

    def broken(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr(hub, "snapshot_download", broken)
    monkeypatch.setattr(hub.constants, "ENDPOINT", "http://mirror.example")
    for ask in (["fetch", "geneformer"], ["inspect", "ctheodoris/Geneformer:Geneformer-V2-104M"]):
        ran = CliRunner().invoke(app, ask)
        assert ran.exit_code == 1
        message = " ".join(ran.stderr.split())
        assert "unexpected" not in message
        assert "could not be fetched from the hub at http://mirror.example" in message
        assert said in message


@pytest.mark.parametrize("name", ["cellfactors", "genetext", "biolm-cell-mini"])
def test_models_that_ship_are_not_fetched(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is loaded by its name alone; there is nothing to fetch"):
        hub_of(name)


def test_fetched_files_are_held_against_their_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    cache = tmp_path / "models--ctheodoris--Geneformer"
    folder, blobs = cache / "snapshots" / "main" / "Geneformer-V2-104M", cache / "blobs"
    folder.mkdir(parents=True)
    blobs.mkdir()
    # As of `git hash-object`, and of `sha256sum`.
    small, large = b"hello\n", b"weights"
    names = {
        "config.json": (small, "ce013625030ba8dba906f756967f9e9ca394464a"),
        "model.safetensors": (large, hashlib.sha256(large).hexdigest()),
    }
    for name, (content, blob) in names.items():
        (blobs / blob).write_bytes(content)
        (folder / name).symlink_to(blobs / blob)
    (folder / "own.txt").write_text("not of the hub")
    assert check_hashes(folder) == 2
    monkeypatch.setattr(hub, "snapshot_download", lambda *_, **__: str(folder.parent))
    for name, (content, blob) in names.items():
        (blobs / blob).write_bytes(content[:-1] + b"?")
        refused = CliRunner().invoke(app, ["fetch", "geneformer"])
        assert refused.exit_code == 1
        message = " ".join(refused.stderr.split())
        assert f"{name} is not what the hub holds" in message
        assert "and fetch again" in message
        (blobs / blob).write_bytes(content)
    assert CliRunner().invoke(app, ["fetch", "geneformer"]).exit_code == 0


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a/b", HubAddress("a/b")),
        ("a/b:c/d", HubAddress("a/b", "c/d")),
        ("a/b@refs/pr/1", HubAddress("a/b", "", "refs/pr/1")),
        ("a/b:c@main", HubAddress("a/b", "c", "main")),
    ],
)
def test_addresses(text: str, found: HubAddress) -> None:
    assert hub_address(text) == found


@pytest.mark.parametrize("text", ["a/b/c", "/a/b", "./a", "a/b:../c", "a/b:", "a/b@", "a", "a/b:/c"])
def test_what_is_no_address(text: str) -> None:
    assert hub_address(text) is None


@pytest.mark.parametrize("text", ["folder?x", "folder?=1", "folder?x=", "folder?x=1&x=2"])
def test_options_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match=r"write name=value|give it once"):
        split_options(text)


def test_a_folder_with_a_question_mark_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "odd?x=1").mkdir()
    assert split_options(str(tmp_path / "odd?x=1")) == (str(tmp_path / "odd?x=1"), {})


def test_a_name_without_a_folder_says_where_to_get_one() -> None:
    with pytest.raises(ConfigError, match="biolm fetch ctheodoris/Geneformer:Geneformer-V2-104M"):
        registry.load("geneformer")
    with pytest.raises(ConfigError, match="model zoo"):
        registry.load("scgpt")
    with pytest.raises(ConfigError, match="not on the hub; get them from figshare"):
        hub_of("uce")
    with pytest.raises(ConfigError, match="is no hub repository"):
        hub_of("nothing")


@pytest.mark.parametrize("name", HUBS)
def test_every_hub_is_of_a_known_system(name: str) -> None:
    assert hub_address(HUBS[name].address) is not None
    assert registry.find(name) is not None
    assert name in where_to_get(name) or HUBS[name].address in where_to_get(name)
