rule fit:
    input:
        REFERENCE["path"],
    output:
        report(
            directory("results/annotator"),
            caption="../report/annotator.rst",
            category="Annotator",
            htmlindex="report.html",
        ),
    log:
        "results/logs/fit.log",
    conda:
        "../envs/biolm.yaml"
    threads: 2
    resources:
        mem_mb=16000,
        runtime="4h",
    params:
        model=config["model"],
        options=fit_options,
    shell:
        "biolm annotate fit {input:q} --output {output:q} --model {params.model:q} {params.options:q} > {log:q} 2>&1"
