SCHEMA = load_schema(workflow.source_path("../schemas/config.schema.json"))
SAMPLES = read_sheet(
    config["samples"],
    load_schema(workflow.source_path("../schemas/samples.schema.json")),
)
for sample in SAMPLES.values():
    validate(sample, "../schemas/samples.schema.json", set_default=False)

MODELS = config["models"]
NAMES = list(MODELS)
if not NAMES:
    raise WorkflowError("the config names no model; name at least one under models")
PARTS = range(1, config["shards"] + 1)
LABELLED = [name for name, sample in SAMPLES.items() if "label" in sample]

EMBEDDINGS = expand("results/embeddings/{dataset}.h5ad", dataset=SAMPLES)
EVALUATIONS = expand("results/evaluation/{dataset}/report.html", dataset=LABELLED)
METRICS = ["results/metrics.tsv"] if LABELLED else []


wildcard_constraints:
    dataset="|".join(map(re.escape, SAMPLES)),
    model="|".join(map(re.escape, NAMES)),
    part=r"\d+",


def dataset_file(wildcards):
    """The table of cells as the user gave it."""
    return SAMPLES[wildcards.dataset]["path"]


def model_source(wildcards):
    """What biolm loads the model from."""
    return MODELS[wildcards.model]


def embed_options(wildcards):
    """Options of biolm embed."""
    chosen = command_options(config.get("embed", {}), SCHEMA["properties"]["embed"])
    return chosen + column_options(SAMPLES[wildcards.dataset], ["layer"])


def evaluate_options(wildcards):
    """Options of biolm evaluate."""
    section = SCHEMA["properties"]["evaluate"]
    chosen = command_options(config.get("evaluate", {}), section)
    columns = ["label", "batch", "groups", "layer"]
    keys = [word for name in NAMES for word in ("-e", f"X_{name}")]
    return keys + chosen + column_options(SAMPLES[wildcards.dataset], columns)


def shards_of(model):
    """Shards of a model's job, in order."""
    return expand(
        "results/shards/{{dataset}}/{model}/{part}-of-{parts}",
        model=model,
        part=PARTS,
        parts=len(PARTS),
    )


def shards_of_model(wildcards):
    """Shards of the model that the merged file is named for."""
    return expand(shards_of(wildcards.model), dataset=wildcards.dataset)


def table_before(model, dataset):
    """The table that a model's vectors are added to: that of the model before it, or the dataset."""
    place = NAMES.index(model)
    if place == 0:
        return SAMPLES[dataset]["path"]
    return f"results/merged/{dataset}/{NAMES[place - 1]}.h5ad"


def table_before_model(wildcards):
    """The table that the vectors of the model are added to."""
    return table_before(wildcards.model, wildcards.dataset)


def table_before_last(wildcards):
    """The table that the vectors of the last model are added to."""
    return table_before(NAMES[-1], wildcards.dataset)
