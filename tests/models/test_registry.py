from __future__ import annotations

import importlib.metadata
import sys
import types

import pytest

from biolm.errors import CheckpointError, ConfigError
from biolm.models import registry
from biolm.models.model import CellModel


@pytest.fixture
def fresh():
    """The list of models is made anew before and after."""
    registry.available.cache_clear()
    yield
    registry.available.cache_clear()


def test_a_built_in_loads_by_name():
    model = registry.load("genetext")
    assert isinstance(model, CellModel)
    assert model.name == "genetext"


@pytest.mark.parametrize("name", [entry.name for entry in registry.BUILT_IN])
def test_every_built_in_module_offers_what_the_registry_calls(name):
    module = registry.find(name).imported()
    assert callable(module.load)
    assert callable(module.recognises)


def test_a_system_needs_a_folder():
    with pytest.raises(ConfigError, match="give the folder of a checkpoint"):
        registry.load("scgpt")


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'scgpt'"):
        registry.load("scGPT")
    with pytest.raises(ConfigError, match="known are cellfactors, genetext"):
        registry.load("zzz")


def test_a_folder_nothing_recognises(tmp_path):
    with pytest.raises(CheckpointError, match="is empty; fetch"):
        registry.load(tmp_path)
    for number in range(9):
        (tmp_path / f"{number}.txt").write_text("")
    with pytest.raises(
        CheckpointError, match=r"0\.txt, 1\.txt, 2\.txt, 3\.txt, 4\.txt, 5\.txt, \.\.\.: .biolm models. says"
    ):
        registry.load(tmp_path)


def test_a_folder_with_the_name_of_a_built_in_is_a_folder_when_given_as_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "genetext").mkdir()
    assert registry.load("genetext").name == "genetext"
    with pytest.raises(CheckpointError, match="is empty; fetch"):
        registry.load("./genetext")


def test_another_package_adds_a_model(monkeypatch, fresh):
    module = types.ModuleType("their_models")
    module.load = lambda folder=None: "their model"
    module.recognises = lambda folder: (folder / "theirs.txt").exists()
    monkeypatch.setitem(sys.modules, "their_models", module)
    point = importlib.metadata.EntryPoint("theirs", "their_models", "biolm.models")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == "biolm.models" else [])
    assert registry.load("theirs") == "their model"
    assert registry.available()[-1].summary == "from another package"


def test_another_package_recognises_a_folder_but_cannot_replace_a_built_in(monkeypatch, fresh, tmp_path):
    module = types.ModuleType("their_models")
    module.load = lambda folder=None: f"their model of {folder.name}"
    module.recognises = lambda folder: (folder / "theirs.txt").exists()
    monkeypatch.setitem(sys.modules, "their_models", module)
    points = [
        importlib.metadata.EntryPoint(name, "their_models", "biolm.models") for name in ("x", "genetext")
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    (tmp_path / "theirs.txt").write_text("")
    assert registry.load(tmp_path) == f"their model of {tmp_path.name}"
    assert registry.find("genetext").module == "biolm.models.systems.genetext"


def test_a_package_that_cannot_be_imported_is_named_when_asked_for_only(monkeypatch, fresh, tmp_path):
    point = importlib.metadata.EntryPoint("broken", "not_installed_anywhere", "biolm.models")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    with pytest.raises(
        ConfigError, match="broken cannot be used because not_installed_anywhere is not installed"
    ):
        registry.load("broken")
    with pytest.raises(CheckpointError, match="no model recognises"):
        registry.load(tmp_path)


@pytest.fixture
def hub(monkeypatch):
    """huggingface_hub whose downloads a test decides."""
    hub = pytest.importorskip("huggingface_hub")
    calls = []

    def answer(result):
        def download(name, **options):
            calls.append((name, options))
            if isinstance(result, Exception):
                raise result
            return str(result)

        monkeypatch.setattr(hub, "snapshot_download", download)
        return calls

    return answer


def test_a_hub_id_is_fetched_without_code(hub, tmp_path):
    (tmp_path / "genetext.safetensors").write_bytes(b"")
    calls = hub(tmp_path)
    entry, folder = registry.resolve("org/model", revision="v2", cache_dir="cache", local_files_only=True)
    assert (entry.name, folder) == ("genetext", tmp_path)
    name, options = calls[0]
    assert name == "org/model"
    assert options["revision"] == "v2"
    assert options["cache_dir"] == "cache"
    assert options["local_files_only"] is True
    assert not any(pattern.endswith(".py") for pattern in options["allow_patterns"])


def test_a_hub_that_does_not_answer(hub):
    hub(OSError("no network"))
    with pytest.raises(CheckpointError, match="no folder org/model here, and it could not be fetched"):
        registry.load("org/model")


def test_a_path_that_does_not_exist_is_no_hub_id():
    for text in ("/no/such/folder", "./no/folder", "a/b/c"):
        with pytest.raises(ConfigError, match="there is no model or folder"):
            registry.load(text)


def test_without_the_extra_the_sentence_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match=r"needs huggingface_hub: pip install 'huggingface-hub"):
        registry.load("org/model")


def test_a_bare_transformer_loads_as_the_core_and_reads_no_cells(tmp_path):
    from transformers import BertConfig, BertModel

    import biolm
    from biolm.jobs.bind import loaded

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=30, **sizes), add_pooling_layer=False).save_pretrained(tmp_path)
    core = biolm.load(tmp_path)
    import torch

    output = core(
        biolm.Batch.from_padded(torch.tensor([[5, 6, 7], [8, 9, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0]]))
    )
    assert output.last_hidden_state.shape == (5, 8)
    with pytest.raises(CheckpointError, match=r"without what it needs to read cells.*the gene dictionaries"):
        loaded(tmp_path)
    with pytest.raises(ConfigError, match="copy the gene dictionaries"):
        registry.load_tokenizer(tmp_path)
