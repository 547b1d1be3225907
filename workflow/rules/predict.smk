"""predict: gives the classes of new sequences their probabilities, with one run of the grid.

`snakemake predict` runs it, and what it needs; `all` does not. Base + adapter predict, which is what was trained.

Inputs:  predict.input and predict.genome; finetune/{model}/{task}/{optimizer}/seed{seed}/run.json and the adapter
         beside it, download/models/{model}/, prepare/{task}/dev.jsonl, which calibrates the probabilities
Outputs: predict/<each of predict.outputs>, and beside each <output>.json, which says how it was made. While it is
         made, what is done is kept in predict/<first output>.parts/, which is not declared: a job that was killed goes
         on behind it
Config:  predict; evaluation.batch_size
Site:    rules.predict.ranks_per_node: number of GPUs of the job that share the input
"""

if workflow.is_main_process and "predict" in sys.argv:
    # Said before Snakemake asks for the rule's inputs, where its message would come with a traceback.
    report_errors(CONFIG.predicted_run)

PREDICTED = [f"{RESULTS}/predict/{name}" for name in CONFIG.predict_outputs]


rule predict:
    input:
        unpack(predict_inputs),
    output:
        files=PREDICTED,
        records=[f"{file}.json" for file in PREDICTED],
    log:
        f"{LOGS}/predict.log",
    benchmark:
        f"{LOGS}/benchmarks/predict.tsv"
    conda:
        ENVIRONMENT
    threads: SITE.scoring_cores("predict")
    resources:
        **resources_of("predict", mem_mb=SITE.mem_mb, runtime="12h"),
    params:
        compared=lambda wildcards: compared(CONFIG.experiment.predict),
        start=scoring_command("predict"),
        folder=lambda wildcards, input: str(Path(input.record).parent),
        options=predict_options,
    shell:
        "python -m dnatune --log {log:q} {params.start} --model {params.folder:q} --base {input.model:q}"
        " --dev {input.dev:q} --input {input.sequences:q} {params.options} --output {output.files:q}"
