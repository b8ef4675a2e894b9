# Of very many cells maps take long; evaluate: maps: false leaves them out.
MAPS = {}
if config.get("evaluate", {}).get("maps", True):
    MAPS["umap"] = report(
        "results/evaluation/{dataset}/umap.png",
        caption="../report/umap.rst",
        category="Maps",
        labels={"dataset": "{dataset}"},
    )


rule evaluate:
    input:
        "results/embeddings/{dataset}.h5ad",
    output:
        **MAPS,
        page=report(
            "results/evaluation/{dataset}/report.html",
            caption="../report/evaluation.rst",
            category="Evaluation",
            labels={"dataset": "{dataset}"},
        ),
        scores="results/evaluation/{dataset}/scores.tsv",
    log:
        "results/logs/evaluate/{dataset}.log",
    conda:
        "../envs/biolm.yaml"
    threads: 2
    resources:
        mem_mb=16000,
        runtime="4h",
    params:
        options=evaluate_options,
    shell:
        "biolm evaluate {input:q} --output $(dirname {output.page:q}) --overwrite {params.options:q} > {log:q} 2>&1"


rule metrics:
    input:
        expand("results/evaluation/{dataset}/scores.tsv", dataset=LABELLED),
    output:
        report(
            "results/metrics.tsv",
            caption="../report/metrics.rst",
            category="Metrics",
        ),
    log:
        "results/logs/metrics.log",
    localrule: True
    conda:
        "../envs/biolm.yaml"
    params:
        datasets=LABELLED,
    script:
        "../scripts/metrics.py"
