# Scatter: every query in parts.
rule predict:
    input:
        cells=query_file,
        annotator="results/annotator",
    output:
        temp(directory("results/shards/{query}/{part}-of-{parts}")),
    log:
        "results/logs/predict/{query}/{part}-of-{parts}.log",
    conda:
        "../envs/biolm.yaml"
    threads: 2
    resources:
        mem_mb=8000,
        runtime="4h",
    params:
        options=predict_options,
    shell:
        "biolm annotate predict {input.cells:q} --annotator {input.annotator:q} --output {output:q}"
        " --shard {wildcards.part}/{wildcards.parts} {params.options:q} > {log:q} 2>&1"


# Gather: the names of all cells enter a copy of the query.
rule merge:
    input:
        shards=expand(
            "results/shards/{{query}}/{part}-of-{parts}", part=PARTS, parts=len(PARTS)
        ),
        cells=query_file,
        annotator="results/annotator",
    output:
        "results/predictions/{query}.h5ad",
    log:
        "results/logs/merge/{query}.log",
    conda:
        "../envs/biolm.yaml"
    resources:
        mem_mb=4000,
        runtime="1h",
    shell:
        "biolm merge {input.shards:q} --input {input.cells:q} --output {output:q} > {log:q} 2>&1"


rule page:
    input:
        "results/predictions/{query}.h5ad",
    output:
        report(
            "results/report/{query}.html",
            caption="../report/query.rst",
            category="Queries",
            labels={"query": "{query}"},
        ),
    log:
        "results/logs/page/{query}.log",
    conda:
        "../envs/biolm.yaml"
    resources:
        mem_mb=8000,
        runtime="1h",
    params:
        learned=REFERENCE["label"],
        label=known_label,
        query="{query}",
    script:
        "../scripts/page.py"
