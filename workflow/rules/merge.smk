"""merge: merges an adapter and its base model into a plain transformers model, tensor by tensor, without a GPU.

Inputs:  download/models/{model}/, finetune/{model}/{task}/{optimizer}/seed{seed}/run.json and the adapter beside it
Outputs: merge/{model}/{task}/{optimizer}/seed{seed}/, with storage.json (what its number format left of the update) and
         run.json; for a diverged run run.json alone
Config:  merge, keep_merged
"""

MERGED = f"{RESULTS}/merge/{{model}}/{{task}}/{{optimizer}}/seed{{seed}}"


rule merge:
    input:
        model=f"{RESULTS}/download/models/{{model}}",
        record=rules.finetune.output.record,
    output:
        directory(MERGED) if CONFIG.settings["keep_merged"] else temp(directory(MERGED)),
    log:
        f"{LOGS}/merge/{{model}}/{{task}}/{{optimizer}}/seed{{seed}}.log",
    benchmark:
        f"{LOGS}/benchmarks/merge/{{model}}/{{task}}/{{optimizer}}/seed{{seed}}.tsv"
    group:
        grouped("evaluate_{model}_{task}_{optimizer}_{seed}")
    conda:
        ENVIRONMENT
    threads: SITE.scoring_cores
    resources:
        **resources_of("merge", mem_mb=SITE.mem_mb, runtime="2h"),
    params:
        experiment=EXPERIMENT,
        compared=compared(CONFIG.merge_settings()),
    shell:
        "python -m dnatune --log {log:q} merge --experiment {params.experiment:q} --model {input.model:q}"
        " --record {input.record:q} --folder {output:q}"
