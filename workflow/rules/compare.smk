"""compare: makes tables, figures and one page from all runs and baselines.

Inputs:  plan of every model and task; manifest.json of every base model and task; metrics.json and predictions.tsv of every
         run and baseline; merge.json, run.json and training.jsonl of every run; metrics.json and contamination.json of
         every base model; audit.json and
         test.jsonl of every task; with `tuning` every choice.json
Outputs: compare/comparison.tsv, compare/tests.tsv, compare/segments.tsv, compare/configuration.yaml, compare/figures/,
         ro-crate-metadata.json, report.html; with `tuning` compare/tuning.tsv
Config:  name, tasks (labels, metric), comparison, tuning; the whole configuration except keep_merged, which changes no result, is written to a file
"""

EVALUATIONS = [f"{RESULTS}/evaluate/{run.path}" for run in RUNS]
CHOICES = list(dict.fromkeys(CHOICE.format(**vars(run)) for run in RUNS)) if CONFIG.tuned else []
ZERO_SHOTS = [f"{RESULTS}/evaluate/zero-shot/{model}/{task}" for model, task in CONFIG.asked]
FROZEN_FOLDERS = [f"{RESULTS}/evaluate/frozen/{model}/{task}" for model, task in CONFIG.frozen]
BASELINES = [f"{RESULTS}/evaluate/baselines/{task}/{name}" for task in CONFIG.tasks for name in CONFIG.baselines]


rule compare:
    input:
        models=expand("{results}/download/models/{model}", results=RESULTS, model=list(CONFIG.settings["models"])),
        data=expand("{results}/download/data/{task}/manifest.json", results=RESULTS, task=list(CONFIG.tasks)),
        runs=expand("{folder}/{file}", folder=EVALUATIONS, file=["metrics.json", "predictions.tsv", "merge.json"]),
        baselines=expand("{folder}/{file}", folder=BASELINES, file=["dev.json", "metrics.json", "predictions.tsv"]),
        frozen=expand("{folder}/{file}", folder=FROZEN_FOLDERS, file=["dev.json", "metrics.json", "predictions.tsv"]),
        zero_shots=expand("{folder}/{file}", folder=ZERO_SHOTS, file=["metrics.json", "contamination.json"]),
        audits=expand("{results}/prepare/{task}/audit.json", results=RESULTS, task=list(CONFIG.tasks)),
        test_records=expand("{results}/prepare/{task}/test.jsonl", results=RESULTS, task=list(CONFIG.tasks)),
        records=[f"{RESULTS}/finetune/{run.path}/run.json" for run in RUNS],
        logs=[f"{RESULTS}/finetune/{run.path}/training.jsonl" for run in RUNS],
        choices=CHOICES,
        plans=expand(PLANNED, model=list(CONFIG.settings["models"]), task=list(CONFIG.tasks)),
    output:
        tuning=(
            report(f"{RESULTS}/compare/tuning.tsv", caption="../report/tuning.rst", category="tuning")
            if CONFIG.tuned
            else []
        ),
        comparison=report(f"{RESULTS}/compare/comparison.tsv", caption="../report/comparison.rst", category="compare"),
        tests=report(f"{RESULTS}/compare/tests.tsv", caption="../report/tests.rst", category="compare"),
        segments=report(f"{RESULTS}/compare/segments.tsv", caption="../report/segments.rst", category="evaluate"),
        configuration=report(
            f"{RESULTS}/compare/configuration.yaml", caption="../report/configuration.rst", category="compare"
        ),
        figures=report(
            directory(f"{RESULTS}/compare/figures"),
            patterns=["{figure}.svg"],
            caption="../report/figures.rst",
            category="figures",
        ),
        crate=f"{RESULTS}/ro-crate-metadata.json",
        page=report(f"{RESULTS}/report.html", caption="../report/report.rst", category="compare"),
    log:
        f"{LOGS}/compare.log",
    benchmark:
        f"{LOGS}/benchmarks/compare.tsv"
    conda:
        ENVIRONMENT
    resources:
        **resources_of("compare", mem_mb=4000, runtime="30m"),
    params:
        experiment=EXPERIMENT,
        results=subpath(output.page, parent=True),
        compared=lambda wildcards: compared(CONFIG.compare_settings(), CONFIG),
    shell:
        "python -m dnatune --log {log:q} compare --experiment {params.experiment:q} --results {params.results:q}"
