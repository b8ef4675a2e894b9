SCHEMA = load_schema(workflow.source_path("../schemas/config.schema.json"))
QUERIES = read_sheet(
    config["samples"],
    load_schema(workflow.source_path("../schemas/samples.schema.json")),
)
for query in QUERIES.values():
    validate(query, "../schemas/samples.schema.json", set_default=False)

REFERENCE = {name: value for name, value in config["reference"].items() if value}
if not Path(REFERENCE["path"]).exists():
    raise WorkflowError(
        f"there is no {REFERENCE['path']}, which the config names as reference; correct its path"
    )
PARTS = range(1, config["shards"] + 1)
PREDICTIONS = expand("results/predictions/{query}.h5ad", query=QUERIES)
PAGES = expand("results/report/{query}.html", query=QUERIES)


wildcard_constraints:
    query="|".join(map(re.escape, QUERIES)),
    part=r"\d+",


def query_file(wildcards):
    """The table of cells as the user gave it."""
    return QUERIES[wildcards.query]["path"]


def known_label(wildcards):
    """Column of the query with known types; empty where there is none."""
    return QUERIES[wildcards.query].get("label", "")


def fit_options(wildcards):
    """Options of biolm annotate fit."""
    chosen = command_options(config.get("fit", {}), SCHEMA["properties"]["fit"])
    return chosen + column_options(REFERENCE, ["label", "batch", "layer"])


def predict_options(wildcards):
    """Options of biolm annotate predict."""
    section = SCHEMA["properties"]["predict"]
    chosen = command_options(config.get("predict", {}), section)
    return chosen + column_options(QUERIES[wildcards.query], ["layer"])
