"""benchmark: times the original recipe, common practice, peers and dnatune's own recipe on this machine.

`snakemake benchmark` runs it; `all` does not. The machine should be otherwise idle.

Inputs:  prepare/{first task}/{train,test}.jsonl; the tokenizer of benchmark.tokenizer, otherwise of the first model
Outputs: benchmark/benchmark.json and speed.svg; the tables on standard output
Config:  benchmark; the labels of the first task; lora, training (precision, micro_batch_size, …), evaluation.batch_size
Site:    cpus_per_rank; ranks_per_node if all cores of the machine are used; at most one GPU is used
"""

BENCHMARK_TASK = next(iter(CONFIG.tasks))
BENCHMARK_MODEL = next(iter(CONFIG.settings["models"]))


rule benchmark:
    input:
        tokenizer=CONFIG.settings["benchmark"].get("tokenizer", f"{RESULTS}/download/models/{BENCHMARK_MODEL}"),
        train=f"{RESULTS}/prepare/{BENCHMARK_TASK}/train.jsonl",
        test=f"{RESULTS}/prepare/{BENCHMARK_TASK}/test.jsonl",
    output:
        result=f"{RESULTS}/benchmark/benchmark.json",
        figure=report(f"{RESULTS}/benchmark/speed.svg", caption="../report/benchmark.rst", category="benchmark"),
    log:
        f"{LOGS}/benchmark.log",
    benchmark:
        f"{LOGS}/benchmarks/benchmark.tsv"
    conda:
        ENVIRONMENT
    threads: SITE.benchmark_cores
    resources:
        **resources_of("benchmark", mem_mb=SITE.mem_mb, runtime="2h"),
    params:
        experiment=EXPERIMENT,
        compared=lambda wildcards: compared(CONFIG.benchmark_settings()),
    shell:
        "python -m dnatune --log {log:q} launch --ranks 1 --cpus {threads} benchmark --experiment {params.experiment:q}"
        " --tokenizer {input.tokenizer:q} --train {input.train:q} --test {input.test:q}"
        " --result {output.result:q} --figure {output.figure:q}"
