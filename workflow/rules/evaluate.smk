"""evaluate: merges each adapter and its base model, and predicts every test item with the run and all it is measured by.

What counts is base + adapter in the precision of training. The merged model, a plain transformers model, is scored as
well, and compared with it.

Inputs:  finetune/{model}/{task}/{optimizer}/seed{seed}/run.json and the adapter beside it, of every seed,
         download/models/{model}/, prepare/{task}/{train,dev,test}.jsonl
Outputs: merge/{model}/{task}/{optimizer}/seed{seed}/, with storage.json (what its number format left of the update) and
         run.json; for a diverged run run.json alone. They are not declared: Snakemake would delete those of all seeds.
         evaluate/{model}/{task}/{optimizer}/seed{seed}/predictions.tsv, metrics.json, merge.json (how far the merged
         model agrees) and README.md (its card); the first two also in evaluate/zero-shot/{model}/{task}/ and, for each
         name of evaluation.baselines, in evaluate/baselines/{task}/{baseline}/, there with dev.json, which is written
         without the test split; evaluate/zero-shot/{model}/{task}/contamination.json
Config:  merge, keep_merged, evaluation, contamination, tasks (labels, metric), training.precision of base models;
         data.simulated for the Bayes-optimal baseline
Site:    rules.evaluate.ranks_per_node: number of GPUs of a job that share one test set
"""

EVALUATED = f"{RESULTS}/evaluate/{{model}}/{{task}}/{{optimizer}}"
ZERO_SHOT = f"{RESULTS}/evaluate/zero-shot/{{model}}/{{task}}"
FROZEN = f"{RESULTS}/evaluate/frozen/{{model}}/{{task}}"
BASELINE = f"{RESULTS}/evaluate/baselines/{{task}}"


# One job scores all runs of an optimizer, because starting Python takes longer than to score a small model.
rule evaluate:
    input:
        model=f"{RESULTS}/download/models/{{model}}",
        records=expand(f"{FINETUNED}/run.json", seed=CONFIG.settings["seeds"], allow_missing=True),
        test=f"{RESULTS}/prepare/{{task}}/test.jsonl",
        # It has to exist before any test score does.
        plan=PLANNED,
    output:
        expand(
            "{folder}/seed{seed}/{file}",
            folder=EVALUATED,
            seed=CONFIG.settings["seeds"],
            file=["predictions.tsv", "metrics.json", "merge.json", "README.md"],
        ),
    log:
        f"{LOGS}/evaluate/{{model}}/{{task}}/{{optimizer}}.log",
    benchmark:
        f"{LOGS}/benchmarks/evaluate/{{model}}/{{task}}/{{optimizer}}.tsv"
    conda:
        ENVIRONMENT
    threads: SITE.scoring_cores()
    resources:
        **resources_of("evaluate", mem_mb=SITE.mem_mb, runtime="4h"),
    params:
        experiment=EXPERIMENT,
        compared=lambda wildcards: compared(CONFIG.merge_settings(), CONFIG.evaluate_settings(wildcards.task)),
        results=subpath(output[0], ancestor=6),
        # With `output` among its parameters Snakemake does not compare it.
        keep=lambda wildcards, output: "--keep-merged" if CONFIG.settings["keep_merged"] else "",
        places=lambda wildcards, input, output: shlex.join(places_in(input.records)),
    shell:
        "python -m dnatune --log {log:q} evaluate_runs --experiment {params.experiment:q} --results {params.results:q}"
        " --ranks {resources.ranks} --cpus {threads} {params.keep} {params.places}"


# The base model as it came: its scores, and signs that it has seen the test split before.
rule evaluate_base:
    input:
        manifest=CONFIG.settings["contamination"].get("manifest", []),
        model=f"{RESULTS}/download/models/{{model}}",
        train=f"{RESULTS}/prepare/{{task}}/train.jsonl",
        dev=f"{RESULTS}/prepare/{{task}}/dev.jsonl",
        test=f"{RESULTS}/prepare/{{task}}/test.jsonl",
        plan=PLANNED,
    output:
        predictions=f"{ZERO_SHOT}/predictions.tsv",
        metrics=f"{ZERO_SHOT}/metrics.json",
        contamination=f"{ZERO_SHOT}/contamination.json",
    log:
        f"{LOGS}/evaluate/zero-shot/{{model}}/{{task}}.log",
    benchmark:
        f"{LOGS}/benchmarks/evaluate/zero-shot/{{model}}/{{task}}.tsv"
    conda:
        ENVIRONMENT
    threads: SITE.scoring_cores()
    resources:
        **resources_of("evaluate", mem_mb=SITE.mem_mb, runtime="4h"),
    params:
        experiment=EXPERIMENT,
        compared=lambda wildcards: compared(
            CONFIG.evaluate_settings(wildcards.task), CONFIG.probe_settings(wildcards.model, wildcards.task)
        ),
        start=scoring_command("evaluate"),
        manifest=lambda wildcards, input: f"--manifest {shlex.quote(input.manifest)}" if input.manifest else "",
    shell:
        "python -m dnatune --log {log:q} {params.start} --experiment {params.experiment:q} --task {wildcards.task:q}"
        " --name {wildcards.model:q} --model {input.model:q}"
        " --test {input.test:q} --predictions {output.predictions:q} --metrics {output.metrics:q}"
        " --then probe --experiment {params.experiment:q} --task {wildcards.task:q} --name {wildcards.model:q}"
        " --model {input.model:q} --train {input.train:q} --dev {input.dev:q} --test {input.test:q} {params.manifest}"
        " --result {output.contamination:q}"


# One job scores all baselines of a task, because starting Python takes longer than most of them. The names are listed:
# a file of a baseline that is not configured is made by no rule.
if CONFIG.baselines:

    rule evaluate_baseline_dev:
        input:
            train=f"{RESULTS}/prepare/{{task}}/train.jsonl",
            dev=f"{RESULTS}/prepare/{{task}}/dev.jsonl",
        output:
            expand("{folder}/{baseline}/dev.json", folder=BASELINE, baseline=CONFIG.baselines),
        log:
            f"{LOGS}/evaluate/baselines/{{task}}_dev.log",
        benchmark:
            f"{LOGS}/benchmarks/evaluate/baselines/{{task}}_dev.tsv"
        group:
            grouped("prepare")
        conda:
            ENVIRONMENT
        resources:
            **resources_of("evaluate_baseline", mem_mb=8000, runtime="1h"),
        params:
            experiment=EXPERIMENT,
            compared=lambda wildcards: compared(CONFIG.baseline_settings(wildcards.task)),
            folder=placed(BASELINE),
        shell:
            "python -m dnatune --log {log:q} evaluate_baseline --experiment {params.experiment:q}"
            " --task {wildcards.task:q} --train {input.train:q} --dev {input.dev:q} --folder {params.folder:q}"

    rule evaluate_baseline:
        input:
            train=f"{RESULTS}/prepare/{{task}}/train.jsonl",
            dev=f"{RESULTS}/prepare/{{task}}/dev.jsonl",
            test=f"{RESULTS}/prepare/{{task}}/test.jsonl",
            plans=expand(PLANNED, model=list(CONFIG.settings["models"]), allow_missing=True),
        output:
            expand(
                "{folder}/{baseline}/{file}",
                folder=BASELINE,
                baseline=CONFIG.baselines,
                file=["predictions.tsv", "metrics.json"],
            ),
        log:
            f"{LOGS}/evaluate/baselines/{{task}}.log",
        benchmark:
            f"{LOGS}/benchmarks/evaluate/baselines/{{task}}.tsv"
        group:
            grouped("baselines")
        conda:
            ENVIRONMENT
        resources:
            **resources_of("evaluate_baseline", mem_mb=8000, runtime="1h"),
        params:
            experiment=EXPERIMENT,
            compared=lambda wildcards: compared(CONFIG.baseline_settings(wildcards.task)),
            folder=placed(BASELINE),
        shell:
            "python -m dnatune --log {log:q} evaluate_baseline --experiment {params.experiment:q}"
            " --task {wildcards.task:q} --train {input.train:q} --dev {input.dev:q} --test {input.test:q}"
            " --folder {params.folder:q}"


rule evaluate_frozen_dev:
    input:
        model=f"{RESULTS}/download/models/{{model}}",
        train=f"{RESULTS}/prepare/{{task}}/train.jsonl",
        dev=f"{RESULTS}/prepare/{{task}}/dev.jsonl",
    output:
        probe=f"{FROZEN}/probe.npz",
        dev=f"{FROZEN}/dev.json",
    log:
        f"{LOGS}/evaluate/frozen/{{model}}/{{task}}_dev.log",
    benchmark:
        f"{LOGS}/benchmarks/evaluate/frozen/{{model}}/{{task}}_dev.tsv"
    conda:
        ENVIRONMENT
    threads: SITE.scoring_cores()
    resources:
        **resources_of("evaluate", mem_mb=SITE.mem_mb, runtime="4h"),
    params:
        experiment=EXPERIMENT,
        compared=lambda wildcards: compared(CONFIG.probe_settings(wildcards.model, wildcards.task)),
        folder=subpath(output.dev, parent=True),
    shell:
        "python -m dnatune --log {log:q} evaluate_frozen --experiment {params.experiment:q} --task {wildcards.task:q}"
        " --name {wildcards.model:q} --model {input.model:q} --train {input.train:q} --dev {input.dev:q}"
        " --folder {params.folder:q}"


rule evaluate_frozen:
    input:
        model=f"{RESULTS}/download/models/{{model}}",
        test=f"{RESULTS}/prepare/{{task}}/test.jsonl",
        fitted=rules.evaluate_frozen_dev.output,
        plan=PLANNED,
    output:
        predictions=f"{FROZEN}/predictions.tsv",
        metrics=f"{FROZEN}/metrics.json",
    log:
        f"{LOGS}/evaluate/frozen/{{model}}/{{task}}.log",
    benchmark:
        f"{LOGS}/benchmarks/evaluate/frozen/{{model}}/{{task}}.tsv"
    conda:
        ENVIRONMENT
    threads: SITE.scoring_cores()
    resources:
        **resources_of("evaluate", mem_mb=SITE.mem_mb, runtime="4h"),
    params:
        experiment=EXPERIMENT,
        compared=lambda wildcards: compared(CONFIG.probe_settings(wildcards.model, wildcards.task)),
        folder=subpath(output.metrics, parent=True),
    shell:
        "python -m dnatune --log {log:q} evaluate_frozen --experiment {params.experiment:q} --task {wildcards.task:q}"
        " --name {wildcards.model:q} --model {input.model:q} --test {input.test:q} --folder {params.folder:q}"
