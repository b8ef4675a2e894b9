# The vectors of one system after the other enter a copy of the table of cells.
rule embed:
    input:
        table_before,
    output:
        temp("results/vectors/{dataset}/{seed}/{system}.h5ad"),
    log:
        "results/logs/embed/{dataset}/{seed}/{system}.log",
    conda:
        "../envs/biolm.yaml"
    threads: 2
    resources:
        mem_mb=16000,
        runtime="8h",
    params:
        model=system_source,
        options=embed_options,
    shell:
        "biolm embed {input:q} --output {output:q} --model {params.model:q} --key X_{wildcards.system}"
        " --seed {wildcards.seed} {params.options:q} > {log:q} 2>&1"


rule evaluate:
    input:
        expand(
            "results/vectors/{{dataset}}/{{seed}}/{last}.h5ad",
            last=NAMES[-1],
        ),
    output:
        page="results/evaluation/{dataset}/{seed}/report.html",
        scores="results/evaluation/{dataset}/{seed}/scores.tsv",
    log:
        "results/logs/evaluate/{dataset}/{seed}.log",
    conda:
        "../envs/biolm.yaml"
    threads: 2
    resources:
        mem_mb=16000,
        runtime="4h",
    params:
        options=evaluate_options,
    shell:
        "biolm evaluate {input:q} --output $(dirname {output.page:q}) --overwrite"
        " --seed {wildcards.seed} {params.options:q} > {log:q} 2>&1"


rule table:
    input:
        expand(
            "results/evaluation/{dataset}/{seed}/scores.tsv",
            dataset=SAMPLES,
            seed=SEEDS,
        ),
    output:
        table=report(
            "results/scores.tsv", caption="../report/scores.rst", category="Scores"
        ),
        page=report(
            "results/report.html", caption="../report/page.rst", category="Scores"
        ),
    log:
        "results/logs/table.log",
    localrule: True
    conda:
        "../envs/biolm.yaml"
    params:
        runs=RUNS,
        systems=SYSTEMS,
    script:
        "../scripts/table.py"
