# What the workflows share: reading sample sheets, and turning config sections into options of biolm.
import csv
import json
import os
from pathlib import Path

from snakemake.exceptions import WorkflowError

# What the environments of the rules install: this clone, unless another is named.
os.environ.setdefault("BIOLM_SOURCE", str(Path(workflow.basedir).parents[2]))


def load_schema(path):
    """A JSON schema of this workflow."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def read_sheet(path, schema):
    """Rows of a sample sheet by the value of its first column; what is wrong is told before any work."""
    if not Path(path).is_file():
        raise WorkflowError(
            f"there is no sample sheet {path}; write one or name it in the config"
        )
    with Path(path).open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file, delimiter="\t")
        columns, lines = table.fieldnames or [], list(table)
    known = schema["properties"]
    for column in columns:
        if column not in known:
            raise WorkflowError(
                f"{path} has a column '{column}' that is not known; columns are: {', '.join(known)}"
            )
    for column in schema["required"]:
        if column not in columns:
            raise WorkflowError(
                f"{path} has no column '{column}'; its tab-separated columns are: {', '.join(known)}"
            )
    return _by_name(path, next(iter(known)), lines, schema)


def _by_name(path, first, lines, schema):
    """Checked rows by the value of the first column."""
    rows = {}
    for number, line in enumerate(lines, start=2):
        row = {column: value for column, value in line.items() if column and value}
        if None in line or any(column not in row for column in schema["required"]):
            raise WorkflowError(
                f"line {number} of {path} does not fit its columns; "
                f"fill {' and '.join(schema['required'])}, tab-separated"
            )
        name = row[first]
        if name in rows:
            raise WorkflowError(
                f"{path} names {first} '{name}' twice; give each a name of its own"
            )
        if not Path(row["path"]).exists():
            raise WorkflowError(
                f"line {number} of {path}: there is no {row['path']} for {first} '{name}'; correct the path"
            )
        rows[name] = row
    if not rows:
        raise WorkflowError(
            f"{path} lists no {first}; write a line for each below the header"
        )
    return rows


def command_options(section, schema):
    """A section of the config as options of a command; what is as by default is left out."""
    words = []
    for name, value in section.items():
        option, default = name.replace("_", "-"), schema["properties"][name]["default"]
        if value == default or value is None:
            continue
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            for one in value if isinstance(value, list) else [value]:
                words += [f"--{option}", str(one)]
    return words


def column_options(row, columns):
    """Columns of a row of the sample sheet that are filled, as options of a command."""
    return [
        word for name in columns if name in row for word in (f"--{name}", row[name])
    ]
