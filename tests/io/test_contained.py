"""Nothing outside a file is read or written through it; no codec or pickle runs code or fills the memory."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import sys
import warnings
import zipfile
from collections import deque
from functools import partial
from itertools import pairwise
from pathlib import Path

import anndata
import h5py
import numpy as np
import pytest
import zarr
from typer.testing import CliRunner

from biolm.cli.main import app
from biolm.errors import BiolmError, CheckpointError, ConfigError, InputError
from biolm.io.anndata.convert import reading
from biolm.io.anndata.copy import copy_h5ad, copy_zarr
from biolm.io.cells import open_cells
from biolm.io.contained import check_zarr, member_of
from biolm.io.json_file import read_json
from biolm.io.safe_pickle import read_pickle
from biolm.io.unpack import Bounded, gunzip


class _Nothing:
    def add(self, root: object) -> None:
        raise AssertionError("the copy was opened for writing")


@pytest.fixture(scope="module")
def damaged(shared: Path) -> Path:
    return shared / "data/awkward/damaged"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    counts = np.random.default_rng(0).poisson(1.0, (6, 5)).astype(np.float32)
    made = anndata.AnnData(counts)
    made.var_names = [f"ENSG{number:011d}" for number in range(5)]
    made.obsm["X_pca"] = counts[:, :2]
    path = tmp_path_factory.mktemp("whole") / "whole.h5ad"
    made.write_h5ad(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.write_zarr(path.with_suffix(".zarr"))
    return path


def lead_out(path: Path, place: str, way: str) -> None:
    """Make a member of a file lead to ``victim.h5``, in one of the ways that HDF5 knows."""
    victim = path.with_name("victim.h5")
    with h5py.File(victim, "w") as file:
        file["x"] = np.arange(4.0)
    with h5py.File(path, "r+") as file:
        if place in file:
            del file[place]
        if way == "link":
            file[place] = h5py.ExternalLink(victim.name, "/")
        elif way == "virtual":
            layout = h5py.VirtualLayout((4,), "f8")
            layout[:] = h5py.VirtualSource(victim.name, "x", (4,))
            file.create_virtual_dataset(place, layout)
        else:
            file.create_dataset(place, (4,), "f8", external=[(str(victim), 0, 32)])


@pytest.mark.parametrize("way", ["link", "virtual", "external"])
@pytest.mark.parametrize("place", ["obsm", "uns", "obs/deep", "X"])
def test_what_leads_out_of_an_hdf5_file_is_refused_by_name(
    whole: Path, tmp_path: Path, way: str, place: str
) -> None:
    path = tmp_path / "x.h5ad"
    shutil.copyfile(whole, path)
    lead_out(path, place, way)
    before = (tmp_path / "victim.h5").read_bytes()
    for use in (lambda: open_cells(path), lambda: copy_h5ad(path, tmp_path / "copy.h5ad", _Nothing())):
        with pytest.raises(InputError, match=rf"\({place}\), which is not followed"):
            use()
    with pytest.raises(InputError, match="not followed"), reading(path):
        pass
    assert (tmp_path / "victim.h5").read_bytes() == before


def test_every_kind_of_hdf5_file_is_looked_at(tmp_path: Path, whole: Path) -> None:
    loom, tenx = tmp_path / "x.loom", tmp_path / "x.h5"
    with h5py.File(loom, "w") as file:
        file["matrix"] = np.ones((3, 2))
        file.create_group("row_attrs")
        file.create_group("col_attrs")
    with h5py.File(tenx, "w") as file:
        file.create_group("matrix/features")
    for path in (loom, tenx):
        lead_out(path, "other/place", "link")
        with pytest.raises(InputError, match="a link into another file"):
            open_cells(path)


def test_soft_links_and_circles_inside_a_file_are_fine(tmp_path: Path, whole: Path) -> None:
    path = tmp_path / "x.h5ad"
    shutil.copyfile(whole, path)
    with h5py.File(path, "r+") as file:
        file["uns/again"] = h5py.SoftLink("/X")
        file["uns/circle"] = file["/"]
    with open_cells(path) as cells:
        assert cells.n_cells == 6


def test_the_given_files_with_links(damaged: Path, tmp_path: Path) -> None:
    for name in ("extlink_evil.h5ad", "extlink_victim.h5ad"):
        shutil.copyfile(damaged / name, tmp_path / name)
    before = hashlib.sha256((tmp_path / "extlink_victim.h5ad").read_bytes()).hexdigest()
    out = tmp_path / "out.h5ad"
    done = CliRunner().invoke(app, ["embed", str(tmp_path / "extlink_evil.h5ad"), "-o", str(out)])
    assert done.exit_code == 1
    assert "a link into another file (obsm)" in done.stderr
    assert not out.exists()
    assert hashlib.sha256((tmp_path / "extlink_victim.h5ad").read_bytes()).hexdigest() == before


@pytest.mark.parametrize("kind", ["file", "folder", "circle", "pipe"])
def test_a_zarr_folder_that_leads_out_is_neither_read_nor_copied(
    whole: Path, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "x.zarr"
    shutil.copytree(whole.with_suffix(".zarr"), path)
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("secret")
    if kind == "pipe":
        os.mkfifo(path / "uns" / "odd")
    else:
        target = {"file": secret / "key", "folder": secret, "circle": path}[kind]
        (path / "uns" / "odd").symlink_to(target)
    with pytest.raises(InputError, match="uns/odd"):
        open_cells(path)
    if kind != "pipe":
        with pytest.raises(InputError, match="uns/odd"):
            copy_zarr(path, tmp_path / "copy.zarr", _Nothing())
        held = [
            file for file in (tmp_path / "copy.zarr").rglob("*") if not file.is_symlink() and file.is_file()
        ]
        assert held
        assert not any(b"secret" in file.read_bytes() for file in held)


@pytest.mark.parametrize("version", [2, 3])
def test_codecs_outside_the_list_are_refused(tmp_path: Path, version: int) -> None:
    path = tmp_path / "x.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=version)
    group.create_array("a/b", shape=(4,), chunks=(2,), dtype="f4")
    check_zarr(path)
    name = ".zarray" if version == 2 else "zarr.json"
    place = path / "a" / "b" / name
    metadata = json.loads(place.read_text())
    if version == 2:
        metadata["filters"] = [{"id": "pickle", "protocol": 5}]
    else:
        metadata["codecs"] = [
            {"name": "sharding_indexed", "configuration": {"codecs": [{"name": "numcodecs.pickle"}]}}
        ]
    place.write_text(json.dumps(metadata))
    with pytest.raises(InputError, match=r"codec '(numcodecs\.)?pickle'"):
        check_zarr(path)
    packed = tmp_path / "x.zarr.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in path.rglob("*"):
            if file.is_file():
                archive.write(file, file.relative_to(path))
    with pytest.raises(InputError, match="pickle"):
        check_zarr(packed)


def test_the_given_store_with_a_pickle_codec(damaged: Path) -> None:
    with pytest.raises(InputError, match="packed with the codec 'pickle'"):
        open_cells(damaged / "evil_pickle_codec.zarr")


def test_the_safe_numcodecs_is_required() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert '"numcodecs>=0.16.6"' in text


def test_pickles_that_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    nested = b"\x80\x02)q\x00" + b"".join(b"h%ch%c\x86q%c" % (n, n, n + 1) for n in range(60)) + b"."
    twice = b"\x80\x02K\x01" + b"2\x86" * 60 + b"."
    for program in (b"\x80\x04Nr\xff\xff\xff\x0f.", b"\x80\x04Np268435455\n.", nested, twice):
        path.write_bytes(program)
        with pytest.raises(CheckpointError, match="do not open it"):
            read_pickle(path)


def test_the_given_memo_bomb(damaged: Path) -> None:
    with pytest.raises(CheckpointError, match="asks for room"):
        read_pickle(damaged / "memo_bomb.pkl")


def test_gzip_that_unpacks_to_gigabytes(tmp_path: Path) -> None:
    bomb = gzip.compress(b"\0" * (64 << 20), 9) * 6
    with pytest.raises(InputError, match="as no data do"):
        gunzip(bomb, "x.gz")
    path = tmp_path / "x.json.gz"
    path.write_bytes(bomb)
    with pytest.raises(CheckpointError, match="as no data do"):
        read_json(path)
    (tmp_path / "x.fa.gz").write_bytes(bomb)
    with (tmp_path / "x.fa.gz").open("rb") as raw, pytest.raises(InputError, match="as no data do"):
        deque(iter(partial(Bounded(gzip.GzipFile(fileobj=raw), len(bomb), "x").read, 1 << 22), b""), maxlen=0)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, '{"a": 1' + "0" * 5000 + "}"])
def test_deep_json_and_endless_numbers(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config.json is (JSON nested too deep|not valid JSON)"):
        read_json(tmp_path / "config.json")


def test_a_few_lines_of_yaml_that_name_a_billion_words(tmp_path: Path) -> None:
    from biolm.training.config.read import read_config

    parts = ["&a [x, x, x, x, x, x, x, x, x]"]
    parts += [f"&{new} [{', '.join([f'*{old}'] * 9)}]" for old, new in pairwise("abcdefghi")]
    (tmp_path / "x.yaml").write_text(f"data:\n  paths:\n    - [{', '.join(parts)}]\n")
    with pytest.raises(ConfigError, match=r"data\.paths must be text, not \[\[") as refused:
        read_config(tmp_path / "x.yaml")
    assert len(str(refused.value)) < 2000


@pytest.mark.parametrize("name", ["x.json", "y.json"])
def test_huge_configs_are_refused_at_once(damaged: Path, tmp_path: Path, name: str) -> None:
    from biolm.core import CoreConfig
    from biolm.models.families.hf import from_hf

    config = json.loads((damaged / "config_layers_1e7.json").read_text())
    if name == "y.json":
        config |= {"num_hidden_layers": 2, "vocab_size": 10**12, "mask_token_id": 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(BiolmError, match="must be at most"):
        from_hf(tmp_path)
    with pytest.raises(ConfigError, match="must be at most"):
        CoreConfig(vocab_size=10**12, d_model=4, n_layers=1, n_heads=1, d_ff=4)


def test_a_config_far_larger_than_its_weights_is_never_made(damaged: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from biolm.models.families.hf import from_hf

    config = json.loads((damaged / "config_layers_1e7.json").read_text())
    config |= {"num_hidden_layers": 9000, "hidden_size": 4096, "intermediate_size": 16384}
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file({"a": torch.zeros(3)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="the files hold 3"):
        from_hf(tmp_path)


def test_an_image_never_opens_the_files_that_it_names(tmp_path: Path) -> None:
    import tifffile

    from biolm.io.spatial.images import open_image

    pixels = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    victim, evil = tmp_path / "victim.ome.tif", tmp_path / "images" / "evil.ome.tif"
    evil.parent.mkdir()
    tifffile.imwrite(victim, pixels, ome=True, metadata={"axes": "YX"})
    own = "urn:uuid:11111111-1111-1111-1111-111111111111"
    with tifffile.TiffFile(victim) as file:
        other = str(file.ome_metadata).partition('UUID="')[2].partition('"')[0]
    planes = [("../victim.ome.tif", other), ("evil.ome.tif", own)]
    named = "".join(
        f'<TiffData IFD="0" FirstZ="{z}" PlaneCount="1"><UUID FileName="{name}">{uuid}</UUID></TiffData>'
        for z, (name, uuid) in enumerate(planes)
    )
    head = 'xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'
    size = 'DimensionOrder="XYCZT" Type="uint8" SizeX="64" SizeY="64" SizeC="1" SizeZ="2" SizeT="1"'
    text = f'<?xml version="1.0"?><OME {head} UUID="{own}"><Image ID="Image:0"><Pixels ID="Pixels:0" {size}>'
    tifffile.imwrite(evil, 255 - pixels, description=f"{text}{named}</Pixels></Image></OME>", metadata=None)
    opened: list[str] = []
    watching = [True]  # a hook cannot be taken away again
    sys.addaudithook(
        lambda event, given: opened.append(str(given[0])) if watching and event == "open" else None
    )
    with open_image(evil) as image:
        assert (image.levels[0].read(0, 0, 64, 64)[..., 0] == 255 - pixels).all()
    watching.clear()
    assert any("evil" in name for name in opened)
    assert not any("victim" in name for name in opened)


def test_names_of_a_store_stay_inside_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lies outside the folder; not followed"):
        member_of(tmp_path, "../x.bin")
    with pytest.raises(InputError, match="lies outside the folder; not followed"):
        member_of(tmp_path, "/etc/passwd")
    assert member_of(tmp_path, "1_Pooling") == tmp_path / "1_Pooling"


@pytest.mark.parametrize(("name", "value"), [("d_hid", 10**7), ("nlayers", 9_000), ("embsize", 10**6)])
def test_originals_with_configs_far_larger_than_their_weights(
    goldens: Path, tmp_path: Path, name: str, value: int
) -> None:
    from biolm.models.registry import load

    folder = tmp_path / "scgpt"
    shutil.copytree(goldens / "scgpt/checkpoint", folder)
    args = json.loads((folder / "args.json").read_text())
    (folder / "args.json").chmod(0o644)
    (folder / "args.json").write_text(json.dumps(args | {"d_hid": 10**6, name: value}))
    with pytest.raises(CheckpointError, match="does not fit its config, which describes over"):
        load(folder)


@pytest.mark.parametrize("token", [10**12, 2**31 - 1, 500_000])
def test_tokens_outside_the_vocabulary(repository: Path, tmp_path: Path, token: int) -> None:
    from biolm.models.registry import load

    folder = tmp_path / "model"
    shutil.copytree(repository / "data/cell-mini", folder)
    tokens = json.loads((folder / "vocab.json").read_text())
    gene = next(name for name in tokens if name.startswith("ENSG"))
    (folder / "vocab.json").write_text(json.dumps(tokens | {gene: token}))
    with pytest.raises(CheckpointError, match=r"numbers genes up to|out of bounds for int32|too large"):
        load(folder)
