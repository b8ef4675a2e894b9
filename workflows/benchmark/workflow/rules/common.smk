SCHEMA = load_schema(workflow.source_path("../schemas/config.schema.json"))
SAMPLES = read_sheet(
    config["samples"],
    load_schema(workflow.source_path("../schemas/samples.schema.json")),
)
for sample in SAMPLES.values():
    validate(sample, "../schemas/samples.schema.json", set_default=False)

SYSTEMS = config["systems"]
NAMES = list(SYSTEMS)
SEEDS = config["seeds"]
if not NAMES or not SEEDS:
    raise WorkflowError("the config names no system or no seed; name at least one each")
if len(set(SEEDS)) < len(SEEDS) or min(SEEDS) < 0:
    raise WorkflowError("the config names a seed twice or one below 0; give each once")
RUNS = [(dataset, seed) for dataset in SAMPLES for seed in SEEDS]


wildcard_constraints:
    dataset="|".join(map(re.escape, SAMPLES)),
    system="|".join(map(re.escape, NAMES)),
    seed=r"\d+",


def system_source(wildcards):
    """What biolm loads the system from."""
    return SYSTEMS[wildcards.system]


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


def table_before(wildcards):
    """The table that the system's vectors are added to: that of the system before it, or the dataset."""
    place = NAMES.index(wildcards.system)
    if place == 0:
        return SAMPLES[wildcards.dataset]["path"]
    return (
        f"results/vectors/{wildcards.dataset}/{wildcards.seed}/{NAMES[place - 1]}.h5ad"
    )
