"""Whoever writes keeps the protocol of docs/reliability.md: a file gets its final name when it is whole."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

BIOLM = Path(__file__).resolve().parent.parent / "biolm"

# Inside one of these a path is a temporary one.
STAGES = {
    "TemporaryDirectory", "_replacing", "_unfinished", "alone", "claiming", "owning", "replacing",
    "replacing_all", "replacing_folder", "working_folder",
}  # fmt: skip
WRITERS = {
    "ParquetWriter", "mkdir", "rename", "replace", "savefig", "save_file", "savez_compressed", "to_csv",
    "to_parquet", "write_bytes", "write_h5ad", "write_text", "write_zarr", "writing_hdf5", "copyfile",
    "copytree", "move",
}  # fmt: skip
# Functions that write where they are told, and are told a path that does not have its final name yet.
TOLD = {
    "core/checkpoint.py": {"write_weights"},
    "io/anndata/convert.py": {"creating"},
    "io/anndata/copy.py": {"_copy_file", "_summarise", "copy_h5ad", "copy_zarr"},
    "io/anndata/table.py": {"write_npy", "write_parquet"},
    "io/cells/write_store.py": {"write_cells"},
    "io/table.py": {"_write_parquet", "_write_text"},
    "io/text/brat.py": {"write_brat"},
    "io/text/formats.py": {"_created"},
    "io/token_formats.py": {"__init__"},
    "jobs/block_file.py": {"write_block"},
    "jobs/job.py": {"write_whole"},
    "jobs/shards.py": {"write_record"},
    "models/heads.py": {"save_heads"},
    "models/native.py": {"_write_json", "save"},
    "models/systems/cellfactors.py": {"save"},
    "models/systems/gene_image_store.py": {"save_gene_image"},
    "tasks/annotate/annotator.py": {"save"},
    "tasks/attention/contacts_file.py": {"_put", "_write_table"},
    "tasks/demo/run.py": {"_write"},
    "tasks/evaluate/benchmarks/tables.py": {"write_scores"},
    "tasks/evaluate/files.py": {"_text"},
    "tasks/generate/run.py": {"_write"},
    "tasks/search/build.py": {"finish"},
    "tasks/search/index.py": {"save"},
    "tasks/spatial/report.py": {"write_training_report"},
    "tasks/variants/vcf.py": {"_writer"},
    "text/heads.py": {"save_head"},
}
# What keeps the protocol itself: names and locks, blocks, stores that grow, and the folder of a training run,
# which is told by its last checkpoint.
KEEPERS = {
    "io/atomic.py", "io/locks.py", "io/store.py", "jobs/spool.py", "training/fine_tune.py",
    "training/run/checkpoint.py", "training/run/folder.py", "training/run/record.py",
}  # fmt: skip
# Words that others use for things that are no files.
OTHERS = {
    ("cli/text_generate.py", "write_text"), ("models/families/esm_original.py", "replace"),
    ("objectives/views.py", "move"), ("tasks/demo/scores.py", "move"),
}  # fmt: skip


def calls(tree: ast.AST, inside: bool = False, where: str = "") -> Iterator[tuple[str, str, bool]]:
    """Every call that writes: what, the function it stands in, and whether inside a stage."""
    for node in ast.iter_child_nodes(tree):
        staged, name = inside, where
        if isinstance(node, ast.FunctionDef):
            staged, name = False, node.name
        if isinstance(node, ast.With):
            staged = inside or any(called(item.context_expr) in STAGES for item in node.items)
        if isinstance(node, ast.Call) and writes(node):
            yield called(node), name, inside
        yield from calls(node, staged, name)


def called(node: ast.AST) -> str:
    """Last word of what is called."""
    function = node.func if isinstance(node, ast.Call) else node
    return getattr(function, "attr", getattr(function, "id", ""))


def writes(node: ast.Call) -> bool:
    """Whether a call makes or changes files."""
    name = called(node)
    if name == "open":
        given = [each.value for each in node.args if isinstance(each, ast.Constant)]
        return any(isinstance(mode, str) and set(mode) & set("wax+") and len(mode) <= 3 for mode in given)
    if name == "replace":
        # Of a path: text takes two arguments.
        return len(node.args) == 1 and not node.keywords
    return name in WRITERS


def bypassing() -> dict[str, set[str]]:
    """Functions of each module that write to a path which they did not get from a stage."""
    found: dict[str, set[str]] = {}
    for path in sorted(BIOLM.rglob("*.py")):
        place = path.relative_to(BIOLM).as_posix()
        for what, where, inside in calls(ast.parse(path.read_text(encoding="utf-8"))):
            if not inside and place not in KEEPERS and (place, what) not in OTHERS:
                found.setdefault(place, set()).add(where)
    return found


def test_whoever_writes_keeps_the_protocol() -> None:
    assert bypassing() == TOLD


@pytest.mark.parametrize(
    "source",
    [
        "def f(path):\n    path.write_text('x')",
        "def f(path):\n    with path.open('w') as file:\n        file.write('x')",
        "def f(table, path):\n    table.to_csv(path)",
        "def f(figure, path):\n    figure.savefig(path)",
        "with replacing(path) as temporary:\n    pass\ntemporary.write_text('x')",
    ],
)
def test_a_bypass_is_seen(source: str) -> None:
    assert [inside for _, _, inside in calls(ast.parse(source))] == [False]


def test_a_stage_is_seen() -> None:
    source = "def f(path):\n    with a(), replacing(path) as made:\n        made.write_text('x')"
    assert [inside for _, _, inside in calls(ast.parse(source))] == [True]
