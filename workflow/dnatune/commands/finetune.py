"""Fine-tune one (model, task, optimizer, seed) with LoRA on a DeepSpeed engine; runs on every rank.

By hand:  python -m dnatune launch --ranks 2 finetune --experiment config/demo.yaml
          --run tiny/prom_core_all/adamw/seed0 …
"""

import argparse
import logging
import shutil
import sys
from pathlib import Path
from typing import Any

from dnatune.files import digest, folder_hashes, publish_file, publish_folder, read_json, sha256_of_file, write_json
from dnatune.settings import experiment


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(
        prog="python -m dnatune finetune", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experiment", type=Path, required=True, help=experiment.HELP)
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--run", metavar="MODEL/TASK/OPTIMIZER/seedK", help="the run's place in the grid")
    place.add_argument("--trial", metavar="MODEL/TASK/OPTIMIZER/rateR", help="a trial, which keeps no weights")
    parser.add_argument("--model", type=Path, required=True, help="folder of the base model")
    parser.add_argument("--train", type=Path, required=True, help="records of the training split")
    parser.add_argument("--dev", type=Path, required=True, help="records of the dev split")
    parser.add_argument("--adapter", type=Path, required=True, help="folder to write: adapter and run.json")
    parser.add_argument("--choice", type=Path, help="choice.json of the learning-rate trials; its rate is taken")
    parser.add_argument("--training-log", type=Path, required=True, help="training.jsonl to write")
    parser.add_argument("--checkpoints", type=Path, required=True, help="folder for resume state")
    options = parser.parse_args()
    configuration = experiment.read(options.experiment)
    of_run, of_trial = configuration.settings_of_run, configuration.settings_of_trial
    settings = of_run(options.run) if options.run else of_trial(options.trial)
    if options.choice:
        settings["optimizer"]["hyperparameters"]["learning_rate"] = read_json(options.choice)["learning_rate"]

    from dnatune.launch.process_group import join

    rank = join(settings["training"]["ddp_timeout"])
    logging.basicConfig(
        level=logging.INFO if rank.first else logging.WARNING,
        format=f"%(asctime)s rank {rank.index} %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    finetune(options, settings, rank)


def finetune(options: argparse.Namespace, settings: dict[str, Any], rank: Any) -> None:
    """Where a task, a model, packing, an optimizer and the loop meet."""
    import torch
    from torch import distributed

    from dnatune import optimizers
    from dnatune.data.prompts import encode_examples
    from dnatune.data.records import read_split
    from dnatune.launch.process_group import all_ranks_agree, devices, first_says, report_interruption
    from dnatune.model import base_models, flops, micro_batch
    from dnatune.model.shared_prefix import exactness
    from dnatune.model.shared_prefix.packing import Rows
    from dnatune.provenance import cpu_model, software
    from dnatune.training import engine as engines
    from dnatune.training import plan as schedules
    from dnatune.training.checkpoints import Checkpoints
    from dnatune.training.loop import Trainer

    training, task, seed = settings["training"], settings["task"], settings["seed"]
    method, hyperparameters = settings["optimizer"]["method"], settings["optimizer"]["hyperparameters"]
    precision = engines.resolve_precision(training["precision"], rank.device)
    stages = optimizers.stages(method, hyperparameters)
    engines.check_pair(method, stages, precision, training["zero_stage"])
    inputs = {"model": digest(folder_hashes(options.model)), "train": sha256_of_file(options.train)}
    versions = software(Path(__file__).resolve())
    resumable = _identity(settings, inputs, rank.world, precision, versions)
    state = options.checkpoints / resumable
    checkpoints = Checkpoints(state, training["save_total_limit"], rank)
    # Another job may have made this run while this one waited for its lock. One rank looks: on a shared file system
    # the others may see it later.
    if first_says(rank.first and is_complete(options, resumable, versions["code"]), rank):
        logging.info("this very run is complete in %s and left as it is; to train again, remove it", options.adapter)
        if rank.first:
            checkpoints.clear()
        distributed.barrier()
        distributed.destroy_process_group()
        return

    tokenizer = base_models.load_tokenizer(options.model)
    length = training["max_seq_length"]
    labels = task["labels"]
    train = encode_examples(tokenizer, read_split(options.train, labels), labels, length, str(options.train))
    dev_split = read_split(options.dev, labels).first(training["dev_examples"])
    dev = encode_examples(tokenizer, dev_split, labels, length, str(options.dev)) if len(dev_split) else None

    plan = schedules.plan(settings["budget"], len(train), training["global_batch_size"], stages)
    rates = schedules.learning_rates(
        training["schedule"], hyperparameters["learning_rate"], training["warmup_ratio"], plan.steps
    )

    base = base_models.load_model(options.model, tokenizer, engines.dtype_of(precision))
    model = base_models.add_lora(base, settings["lora"], seed).to(rank.device)
    # One answer for all ranks, for their devices may round differently.
    shared = all_ranks_agree(exactness.shared_rows(base, [train, dev] if dev else [train]), rank)
    # A model is loaded to be asked; training and what it needs of memory are with dropout.
    model.train()
    trainable, total = base_models.parameter_counts(model)
    optimizer = optimizers.build(
        method, [p for p in model.parameters() if p.requires_grad], hyperparameters, training["max_grad_norm"]
    )
    clipping = optimizers.engine_clipping(method, training["max_grad_norm"])
    configuration = engines.deepspeed_configuration(training, precision, rank.world, clipping)
    likelihood = base_models.LabelLikelihood(model)
    engine = engines.start_engine(likelihood, optimizer, configuration)

    saved = checkpoints.load(engine)
    if saved:
        # It goes on in the rows that it began in, for others round otherwise.
        rows = Rows(**saved["rows"])
    else:
        copies = optimizers.state_copies(method, hyperparameters)
        rows = micro_batch.choose_micro_batch(
            training, model, likelihood, train, shared, rank.device, rank.world, copies
        )
    meter = flops.meter(base, rank.device, rows.recomputed)
    trainer = Trainer(engine, optimizer, rank, train, dev, plan, rates, training, seed, rows, meter)
    with micro_batch.checkpointed(model, rows.recomputed), micro_batch.explain_out_of_memory(rows):
        outcome = trainer.run(checkpoints, saved, state / "training.jsonl")
    if outcome.interrupted:
        report_interruption(outcome.progress.step)
        distributed.barrier()
        distributed.destroy_process_group()
        return
    weights = engines.full_precision_weights(model)
    places = devices(rank)

    if rank.first:
        progress = outcome.progress
        run = {
            "status": "diverged" if outcome.diverged else "completed",
            "diverged": outcome.diverged,
            "model": settings["model"],
            "task": task["name"],
            "optimizer": settings["optimizer"]["name"],
            "seed": seed,
            "settings": settings,
            "steps": progress.step,
            "gradient_evaluations": progress.gradient_evaluations,
            "epochs": progress.step / plan.steps_per_epoch,
            "global_batch_size": training["global_batch_size"],
            "micro_batch_size": rows.micro_batch_size,
            "shared_prefix": rows.shared,
            "gradient_checkpointing": rows.recomputed,
            "accumulation": trainer.accumulation,
            "ranks": rank.world,
            "devices": places,
            "trainable_parameters": trainable,
            "total_parameters": total,
            "precision": precision,
            "device": torch.cuda.get_device_name() if rank.device != "cpu" else "cpu",
            "cpu": cpu_model(),
            "matmul_peak": meter.peak,
            "wall_seconds": progress.seconds,
            "gpu_seconds": progress.seconds * rank.world if rank.device != "cpu" else 0.0,
            "final_loss": outcome.final_loss,
            "inputs": inputs,
            "software": versions,
        }
        # The folder comes last: where it stands, the run is complete.
        with publish_file(options.training_log) as scratch:
            shutil.copyfile(state / "training.jsonl", scratch)
        with publish_folder(options.adapter) as folder:
            if not outcome.diverged and not options.trial:
                base_models.save_adapter(model, weights, tokenizer, folder)
            write_json(folder / "run.json", run)
        checkpoints.clear()
    distributed.barrier()
    distributed.destroy_process_group()


def _identity(
    settings: dict[str, Any], inputs: dict[str, str], ranks: int, precision: str, versions: dict[str, str | None]
) -> str:
    """Return what names the checkpoint folder: a digest of all that a resumed run must share."""
    return digest([settings, inputs, ranks, precision, versions["torch"], versions["deepspeed"]])


def is_complete(options: argparse.Namespace, resumable: str, code: str | None) -> bool:
    """Tell whether the outputs are there already, of a run with the same identity and the same code."""
    record = options.adapter / "run.json"
    if not (record.is_file() and options.training_log.is_file()):
        return False
    run = read_json(record)
    # What other code wrote need not have these keys.
    if run.get("software", {}).get("code") != code:
        return False
    identity = _identity(run["settings"], run["inputs"], run["ranks"], run["precision"], run["software"])
    # Of a trial there are no weights, whatever else is equal.
    whole = options.trial or run["diverged"] or (options.adapter / "adapter_config.json").is_file()
    return identity == resumable and whole
