"""Fine-tune one (model, task, optimizer, seed) with LoRA on a DeepSpeed engine; runs on every rank.

By hand:  python -m dnatune launch --ranks 2 finetune --experiment config/demo.yaml
          --run tiny/prom_core_all/adamw/seed0 …
"""

import argparse
import contextlib
import functools
import logging
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dnatune.commands import stage_parser
from dnatune.data.integrity import Contents, check_model, contents_of
from dnatune.errors import ConfigurationError, DataError
from dnatune.files import publish_file, publish_folder, sha256_of_file
from dnatune.kept import give_back, keep
from dnatune.provenance import cpu_model, software
from dnatune.settings import experiment
from dnatune.settings.rate_choice import Choice
from dnatune.settings.training import FinetuneSettings, few_steps
from dnatune.training import record


def main() -> None:
    """Parse the command line and train."""
    parser = stage_parser(__name__, __doc__)
    parser.add_argument("--experiment", type=Path, required=True, help=experiment.HELP)
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--run", metavar="MODEL/TASK/OPTIMIZER/seedK", help="the run's place in the grid")
    place.add_argument(
        "--trial", metavar="MODEL/TASK/OPTIMIZER/rateR", help="a trial (or …/fineK/seedS), which keeps no weights"
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of the base model")
    parser.add_argument("--train", type=Path, required=True, help="records of the training split")
    parser.add_argument("--dev", type=Path, required=True, help="records of the dev split")
    parser.add_argument("--record", type=Path, required=True, help="run.json to write; the adapter goes beside it")
    parser.add_argument(
        "--choice", type=Path, help="choice.json of the trials, whose rate a run takes; for …/fineK/seedS coarse.json"
    )
    parser.add_argument("--training-log", type=Path, required=True, help="training.jsonl to write")
    parser.add_argument("--checkpoints", type=Path, required=True, help="folder for resume state")
    parser.add_argument(
        "--accept-code-change",
        action="store_true",
        help="go on with a run that other code or other versions of the libraries have begun; run.json says so",
    )
    options = parser.parse_args()
    configuration = experiment.read(options.experiment)
    best = Choice.read(options.choice).learning_rate if options.choice else None
    if options.trial:
        settings = configuration.trials.settings_at(options.trial, best)
    else:
        settings = configuration.settings_of_run(options.run)
        settings = settings if best is None else settings.with_learning_rate(best)

    from dnatune.launch.process_group import join

    rank = join(settings.training.ddp_timeout)
    logging.basicConfig(
        level=logging.INFO if rank.first else logging.WARNING,
        format=f"%(asctime)s rank {rank.index} %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    finetune(options, with_chosen_lora(options.model, settings), rank)


def head_of(settings: FinetuneSettings) -> Any:
    """Return the classification head that is trained; None for a causal language model."""
    from dnatune.model.classification import Head

    return Head(settings.task.labels, settings.seed) if settings.head else None


def with_chosen_lora(model: Path, settings: FinetuneSettings) -> FinetuneSettings:
    """Return the settings with the modules that are trained, which the default leaves open for a classification head.

    Args:
        model: folder of the base model.
        settings: of the run.
    """
    if not settings.head:
        return settings
    from dnatune.model import architecture, classification

    lora = classification.chosen_lora(settings.lora, architecture.network_of(model, head_of(settings)))
    return settings.model_copy(update={"lora": lora})


def finetune(options: argparse.Namespace, settings: FinetuneSettings, rank: Any) -> None:
    """Train, unless the run is complete already."""
    from torch import distributed

    from dnatune.launch.process_group import first_says
    from dnatune.training.checkpoints import Checkpoints

    conditions = conditions_of(options, settings, rank)
    checkpoints = Checkpoints(options.checkpoints, settings.training.save_total_limit, rank, conditions)
    # A job that shared it with other runs, or another while this one waited for its lock, may have made this run. One
    # rank looks: on a shared file system the others may see it later.
    folder, fits = options.record.parent, functools.partial(is_complete, options, conditions)
    if first_says(rank.first and give_back(folder, fits), rank):
        logging.info("this very run is complete and left as it is; to train again, remove its folder %s", folder)
        if rank.first:
            tidy(options, checkpoints)
    else:
        if rank.first and not options.record.exists():
            # Without its run.json an adapter belongs to no run, and this one may fail.
            shutil.rmtree(record.adapter_of(options.record), ignore_errors=True)
        train(options, conditions, checkpoints, rank)
    distributed.barrier()
    distributed.destroy_process_group()


def conditions_of(options: argparse.Namespace, settings: FinetuneSettings, rank: Any) -> record.Conditions:
    """Return all that decides the result, as far as it is known before training.

    Raises:
        ConfigurationError: the precision, the method and the ZeRO stage do not go together.
    """
    from dnatune import optimizers
    from dnatune.launch.process_group import first_says
    from dnatune.training import engine as engines

    training, optimizer = settings.training, settings.optimizer
    precision = engines.resolve_precision(training.precision, rank.device)
    stages = optimizers.stages(optimizer.method, optimizer.hyperparameters)
    engines.check_pair(optimizer.method, stages, precision, training.zero_stage)
    return record.Conditions(
        settings=settings.plain(),
        inputs=record.Inputs(
            model=first_says(rank.first and check_model(options.model), rank), train=sha256_of_file(options.train)
        ),
        ranks=rank.world,
        precision=precision,
        software=record.Software(**software(Path(__file__).resolve())),
    )


def is_complete(options: argparse.Namespace, conditions: record.Conditions) -> bool:
    """Tell whether the outputs are there already, of a run under the same conditions and by the same code."""
    try:
        run = record.Run.read(options.record)
        run.check_outputs(options.record)
        return run.software.code == conditions.software.code and run.identity == conditions.identity
    except (DataError, ConfigurationError):
        # It is not there or not whole, or other code wrote it.
        return False


def train(options: argparse.Namespace, conditions: record.Conditions, checkpoints: Any, rank: Any) -> None:
    """Train from the newest checkpoint, or from step 0, to the end or an interruption, and publish the run."""
    from dnatune.launch.process_group import devices, report_interruption
    from dnatune.model import base_models, micro_batch
    from dnatune.training.engine import full_precision_weights
    from dnatune.training.segments import Segments

    # Before anything that takes time: the checkpoint may not fit.
    found = checkpoints.find(conditions.typed_settings.training.accept_code_change or options.accept_code_change)
    segments = Segments(checkpoints.folder, checkpoints.log)
    with segments.begin(found, conditions) if rank.first else contextlib.nullcontext():
        trainer, model, tokenizer, counts = trainer_of(options, conditions, checkpoints, found, rank)
        rows = trainer.rows
        with micro_batch.checkpointed(model, rows.recomputed), micro_batch.explain_out_of_memory(rows):
            outcome = trainer.run(checkpoints, found.saved if found else None)
        if rank.first:
            segments.end(outcome.reason, outcome.progress.step)
        if outcome.interrupted:
            report_interruption(outcome.progress.step)
            return
        weights = trainer.best.weights if trainer.best else full_precision_weights(trainer.engine.module)
        run = record_of(conditions, trainer, outcome, counts, devices(rank), segments.all)
        if rank.first:
            with publication(options, run, checkpoints.log) as adapter:
                if adapter:
                    base_models.save_adapter(model, weights, tokenizer, adapter)
            tidy(options, checkpoints)


def trainer_of(
    options: argparse.Namespace, conditions: record.Conditions, checkpoints: Any, found: Any, rank: Any
) -> tuple[Any, Any, Any, tuple[int, int]]:
    """Return the trainer, the model, its tokenizer, and how many of its parameters are trained and how many there are.

    Here a task, a model, packing, an optimizer and the loop meet.
    """
    from dnatune import optimizers
    from dnatune.launch.process_group import all_ranks_agree
    from dnatune.model import base_models, flops, label_likelihood, micro_batch
    from dnatune.model.shared_prefix import exactness
    from dnatune.model.shared_prefix.packing import Rows
    from dnatune.training import engine as engines
    from dnatune.training.loop import Trainer

    settings = conditions.typed_settings
    training = settings.training
    method, hyperparameters = settings.optimizer.method, settings.optimizer.hyperparameters
    tokenizer = base_models.load_tokenizer(options.model)
    examples, dev = examples_of(options, settings, tokenizer, rank)
    plan, rates = schedule_of(settings, len(examples))
    if rank.first and (warning := few_steps(plan.steps)):
        logging.warning(warning)

    splits = [examples, dev] if dev else [examples]
    head = head_of(settings)
    base_models.refuse_uncovered(options.model, tokenizer, splits, settings.lora, head)
    dtype = engines.dtype_of(conditions.precision)
    base = base_models.load_model(options.model, tokenizer, dtype, rank.device, head)
    model = base_models.add_lora(base, settings.lora, settings.seed).to(rank.device)
    # One answer for all ranks, for their devices may round differently.
    shared = all_ranks_agree(exactness.shared_rows(base, splits), rank)
    # A model is loaded to be asked; training and what it needs of memory are with dropout.
    model.train()
    counts = base_models.parameter_counts(model)
    likelihood = label_likelihood.LabelLikelihood(model)
    compiled = engines.compiles(training, settings.budget.gradient_evaluations or plan.steps, rank.device)
    engines.prepare_layers(likelihood, training.zero_stage, compiled)
    trainable = [p for p in likelihood.parameters() if p.requires_grad]
    optimizer = optimizers.build(method, trainable, hyperparameters, training.max_grad_norm, training.clip)
    clipping = optimizers.engine_clipping(method, training.max_grad_norm)
    configuration = engines.deepspeed_configuration(training, conditions.precision, rank.world, clipping)
    engine = engines.start_engine(likelihood, optimizer, configuration)

    if found:
        checkpoints.load(engine, found)
        # It goes on in the rows that it began in, for others round otherwise.
        rows = Rows(**found.saved.rows)
    else:
        copies = optimizers.state_copies(method, hyperparameters)
        rows = micro_batch.choose_micro_batch(
            training, model, likelihood, examples, shared, rank.device, rank.world, copies
        )
    meter = flops.meter(base, rank.device, rows.recomputed)
    trainer = Trainer(engine, optimizer, rank, examples, dev, plan, rates, training, settings.seed, rows, meter)
    if found and trainer.best and rank.first:
        trainer.best.weights = checkpoints.load_best(found)
    return trainer, model, tokenizer, counts


def examples_of(options: argparse.Namespace, settings: FinetuneSettings, tokenizer: Any, rank: Any) -> tuple[Any, Any]:
    """Return the encoded training split and the encoded dev examples; None if there are none."""
    from dnatune.data.prompts import encode_examples, encode_sequences
    from dnatune.data.records import read_split

    labels, length = settings.task.labels, settings.training.most_tokens

    def encode(split: Any, path: Path) -> Any:
        encoded = encode_sequences if settings.head else functools.partial(encode_examples, prompt=settings.prompt)
        return encoded(tokenizer, split, labels, length, str(path), rank)

    scored = read_split(options.dev, labels).first(settings.training.dev_examples)
    if settings.training.keep == "best_dev" and not len(scored):
        raise ConfigurationError(
            f"it is 'best_dev' and the dev split of {settings.task.name} has no row",
            where="config key 'training.keep'",
            fix="give the task a dev split, or keep the last step",
        )
    examples = encode(read_split(options.train, labels), options.train)
    return examples, encode(scored, options.dev) if len(scored) else None


def schedule_of(settings: FinetuneSettings, examples: int) -> tuple[Any, list[float]]:
    """Return the plan of a run over a number of training examples, and the learning rate of each step."""
    from dnatune import optimizers
    from dnatune.training import plan as schedules

    training, hyperparameters = settings.training, settings.optimizer.hyperparameters
    stages = optimizers.stages(settings.optimizer.method, hyperparameters)
    plan = schedules.plan(settings.budget, examples, training.global_batch_size, stages)
    rate = hyperparameters["learning_rate"]
    return plan, schedules.learning_rates(training.schedule, rate, training.warmup_ratio, plan.steps)


def record_of(
    conditions: record.Conditions,
    trainer: Any,
    outcome: Any,
    counts: tuple[int, int],
    devices: list[str],
    segments: list[record.Segment],
) -> record.Run:
    """Return run.json.

    Args:
        conditions: of the run.
        trainer: that has run.
        outcome: how training ended.
        counts: trained parameters and all of them.
        devices: of each rank.
        segments: of the run.
    """
    import torch

    from dnatune.evaluation import metrics

    settings, progress, rank, rows = conditions.typed_settings, outcome.progress, trainer.rank, trainer.rows
    on_gpu = rank.device != "cpu"
    return record.Run(
        **dict(conditions),
        status="diverged" if outcome.diverged else "completed",
        diverged=outcome.diverged,
        model=settings.model,
        task=settings.task.name,
        optimizer=settings.optimizer.name,
        seed=settings.seed,
        steps=progress.step,
        kept_step=progress.step if progress.best_step is None else progress.best_step,
        gradient_evaluations=progress.gradient_evaluations,
        repeated_evaluations=progress.repeated_evaluations,
        epochs=progress.step / trainer.plan.steps_per_epoch,
        global_batch_size=settings.training.global_batch_size,
        micro_batch_size=rows.micro_batch_size,
        accumulation=trainer.accumulation,
        shared_prefix=rows.shared,
        gradient_checkpointing=rows.recomputed,
        compiled=trainer.engine.module.compiled,
        devices=devices,
        device=torch.cuda.get_device_name() if on_gpu else "cpu",
        cpu=cpu_model(),
        matmul_peak=trainer.meter.peak,
        trainable_parameters=counts[0],
        total_parameters=counts[1],
        wall_seconds=progress.seconds,
        gpu_seconds=progress.seconds * rank.world if on_gpu else 0.0,
        final_loss=outcome.final_loss,
        class_share_loss=metrics.class_share_loss(trainer.dev) if trainer.dev else None,
        unknown_tokens=trainer.train.unknown_share,
        segments=segments,
        outputs=Contents(files={}, large={}),
    )


def tidy(options: argparse.Namespace, checkpoints: Any) -> None:
    """Keep what a complete run has published, and delete what it no longer needs."""
    keep(options.record.parent, [options.record.name, options.training_log.name])
    checkpoints.clear()


@contextlib.contextmanager
def publication(options: argparse.Namespace, run: record.Run, log: Path) -> Iterator[Path | None]:
    """Yield the folder to write the adapter into, None if none is kept; then publish the run.

    run.json goes first and comes last, with the hashes of all other files: where it stands, the run is complete and all
    files are its own.
    """
    adapter, made = record.adapter_of(options.record), Contents(files={}, large={})
    with contextlib.ExitStack() as stack:
        folder = None
        if not (run.diverged or options.trial):
            folder = stack.enter_context(publish_folder(adapter))
        yield folder
        if folder:
            made = contents_of(folder).below(adapter.name)
        options.record.unlink(missing_ok=True)
        if folder is None:
            shutil.rmtree(adapter, ignore_errors=True)
        with publish_file(options.training_log) as scratch:
            shutil.copyfile(log, scratch)
    files = {options.training_log.name: sha256_of_file(options.training_log), **made.files}
    run.model_copy(update={"outputs": made.model_copy(update={"files": files})}).write(options.record)
