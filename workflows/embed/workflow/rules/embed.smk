# Scatter: every model embeds every dataset in parts; an interrupted part goes on where it was.
rule embed:
    input:
        cells=dataset_file,
    output:
        temp(directory("results/shards/{dataset}/{model}/{part}-of-{parts}")),
    log:
        "results/logs/embed/{dataset}/{model}/{part}-of-{parts}.log",
    conda:
        "../envs/biolm.yaml"
    threads: 2
    resources:
        mem_mb=8000,
        runtime="4h",
    params:
        model=model_source,
        options=embed_options,
    shell:
        "biolm embed {input.cells:q} --output {output:q} --model {params.model:q} --key X_{wildcards.model}"
        " --shard {wildcards.part}/{wildcards.parts} --resume {params.options:q} > {log:q} 2>&1"


# Gather: the vectors of one model after the other enter a copy of the table of cells.
rule merge:
    input:
        shards=shards_of_model,
        cells=table_before_model,
    output:
        temp("results/merged/{dataset}/{model}.h5ad"),
    log:
        "results/logs/merge/{dataset}/{model}.log",
    conda:
        "../envs/biolm.yaml"
    resources:
        mem_mb=4000,
        runtime="1h",
    shell:
        "biolm merge {input.shards:q} --input {input.cells:q} --output {output:q} > {log:q} 2>&1"


use rule merge as merge_last with:
    input:
        shards=shards_of(NAMES[-1]),
        cells=table_before_last,
    output:
        "results/embeddings/{dataset}.h5ad",
    log:
        "results/logs/merge/{dataset}.log",
