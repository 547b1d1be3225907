"""What the rule files share. The checked configuration, the site, paths, settings as text.

Config keys used: name, keep_merged; the rest through `CONFIG`.
Site keys used: all, through `SITE`.
"""

import json
import os
import shlex
import signal
import sys
from pathlib import Path

from snakemake.jobs import GroupJob, Job

LIBRARY = Path(workflow.current_basedir).parent
sys.path.insert(0, str(LIBRARY))

from dnatune import errors
from dnatune.data import manifests, sources
from dnatune.launch import run_lock
from dnatune.settings import experiment, site
from dnatune.errors import DnatuneError
from dnatune.data.tasks import SPLITS


def report_errors(function, *arguments):
    """Return the function's value; a mistake of the user's ends in its message, not in a traceback."""
    try:
        return function(*arguments)
    except DnatuneError as error:
        raise WorkflowError(f"{type(error).__name__}: {error}") from None


CONFIG = report_errors(experiment.resolve, experiment.read_scalars(config, workflow.config_settings.config))
SITE = report_errors(site.load, Path(workflow.current_basedir).parents[1], os.environ)
report_errors(site.refuse_overrides, workflow.resource_settings.overwrite_resources)
# What `--set-resources finetune:nodes=…` asks for: tasks and the launcher follow from it.
NODES = workflow.resource_settings.overwrite_resources.get("finetune", {}).get("nodes")
if NODES is not None:
    # An expression that Snakemake would evaluate job by job is no number of nodes.
    NODES = NODES.raw if NODES.is_evaluable() else NODES.value
for optimizer in CONFIG.settings["optimizers"]:
    report_errors(SITE.layout, optimizer, NODES)
RESULTS = f"results/{CONFIG.settings['name']}"
LOGS = f"logs/{CONFIG.settings['name']}"
RUNS = CONFIG.runs()
ENVIRONMENT = "../../envs/dnatune.yaml"


def in_slurm_job():
    """Return what a shell does first inside Slurm, in jobs and where Snakemake was started there; elsewhere nothing."""
    if "SLURM_JOB_ID" not in os.environ or SITE.slurm is None:
        return ""
    # Slurm's word that the time is nearly over goes to every process of the job; only training acts on it.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    # `dnatune`, below, tells of the first that is missing: it writes to the stage's log, and this does not.
    modules = [f"module load {name} || absent=${{{{absent:-{name}}}}}; " for name in SITE.slurm["modules"]]
    # A Snakemake that submits jobs downloads, wherever it was started.
    exports = SITE.exports(offline=workflow.remote_exec)
    return "".join(
        ["trap '' USR1; ", *modules, *(f"export {name}={shlex.quote(value)}; " for name, value in exports.items())]
    )


NO_MODULE = (
    "\ndnatune: ConfigurationError: the environment module %s cannot be loaded"
    "\n  where: the site, key 'slurm.modules'"
    "\n  to do: name one that `module avail` lists on a compute node; what `module` said is in the job's log\n"
)
# In a rule, `dnatune STAGE …` runs `python -m dnatune STAGE …` with the interpreter that runs Snakemake, unless a conda
# environment brings its own. Defined here, the two paths are no part of a rule: a checkout that moves reruns nothing.
PYTHON = "python" if workflow.deployment_settings.deployment_method else shlex.quote(sys.executable)
shell.prefix(
    in_slurm_job()
    + f'set -euo pipefail; dnatune() {{{{ [ -z "${{{{absent:-}}}}" ] || {{{{ printf {shlex.quote(NO_MODULE)} "$absent" >&2; '
    + f'exit {errors.ConfigurationError.exit_status}; }}}}; {PYTHON} -P -m dnatune "$@"; }}}}; '
    + f'export PYTHONPATH={shlex.quote(str(LIBRARY))}"${{{{PYTHONPATH:+:$PYTHONPATH}}}}"; '
)


# Of the jobs that this Snakemake has submitted: Slurm's number, and which logs (by their time of change) end with word
# that the run was saved. A log that an attempt which never began has left as it was counts once.
_NUMBERS = {}
_SAVED = {}
_register, _postprocess = Job.register, Job.postprocess


def _noted(job, external_jobid=None):
    """Note with a job's outputs which Slurm job makes them, which Snakemake forgets once that job has begun."""
    if external_jobid:
        _NUMBERS[job] = external_jobid
    elif not workflow.is_main_process:
        external_jobid = os.environ.get("SLURM_JOB_ID")
    _register(job, external_jobid)


async def _still_noted(job, *arguments, error=False, **options):
    """Keep that note where the job ends inside Slurm without its outputs: it may be back in the queue."""
    await _postprocess(job, *arguments, error=error, **options)
    if error and not workflow.is_main_process:
        job.register()


def _retries(job):
    """Return how often a failed job may be tried again, continuations of a saved run not counted.

    Not at all where it would only fail again, or where somebody has cancelled it.
    """
    logs = {log: Path(log).read_text("utf-8", "replace") for log in job.log if Path(log).is_file()}
    if any(map(errors.would_repeat, logs.values())):
        return 0
    if job in _NUMBERS:
        # A lost node, a preemption and a time limit have states of their own.
        if run_lock.job_state(_NUMBERS[job]) == "CANCELLED":
            return 0
        saved = {Path(log).stat().st_mtime_ns for log, text in logs.items() if errors.was_interrupted(text)}
        _SAVED.setdefault(job, set()).update(saved)
    return job.rule.restart_times + len(_SAVED.get(job, ()))


# Snakemake tries whatever fails again, without a way to say of one job that it shall not.
Job.register, Job.postprocess = _noted, _still_noted
Job.restart_times = property(_retries)
GroupJob.restart_times = property(lambda group: min(job.restart_times for job in group.jobs))


def _refuse_left_over():
    """Stop where jobs that an earlier Snakemake left in the queue would make the same files after this one's."""
    run_lock.refuse_pending(
        {number for job in workflow.dag.needrun_jobs() for number in workflow.persistence.external_jobids(job)}
    )


onstart:
    if workflow.executor_plugin.name == "slurm":
        report_errors(SITE.require_slurm)
        report_errors(_refuse_left_over)


wildcard_constraints:
    model="[^/]+",
    task="[^/]+",
    optimizer="[^/]+",
    seed="[0-9]+",
    rate="[0-9.e+-]+",
    baseline="[a-z]+",


def resources_of(name, mem_mb, runtime):
    """Return a rule's resources: memory and time as it asks for them, and what the site makes of it."""

    def part(key):
        def resource(wildcards):
            return SITE.resources(name, wildcards.get("optimizer"), NODES, mem_mb, runtime).get(key)

        return resource

    if name == "finetune":
        asked = [_asked(optimizer) for optimizer in CONFIG.settings["optimizers"]]
        keys = [key for key in site.RESOURCES if any(key in resources for resources in asked)]
        return {key: part(key) for key in keys}
    return SITE.resources(name, None, None, mem_mb, runtime)


def _asked(optimizer):
    return SITE.resources("finetune", optimizer, NODES, SITE.mem_mb, SITE.runtime)


def grouped(name):
    """Return the group that rules share a job by, where every job must take a GPU; elsewhere each has its own."""
    return name if SITE.slurm and SITE.slurm["every_job_needs_gpu"] else None


def as_text(settings):
    """Return settings as one line of JSON: a changed value changes it, and Snakemake reruns the rule."""
    return json.dumps(settings, ensure_ascii=False, sort_keys=True)


def run_of(wildcards):
    """Return the cell of the grid that the wildcards name."""
    return experiment.Run(wildcards.model, wildcards.task, wildcards.optimizer, int(wildcards.seed))


def files_of_directory(wildcards):
    """Return the CSV files of a `directory` source that exist; the script names the missing ones."""
    settings = CONFIG.data_settings(wildcards.task)
    if settings["source"] != "directory":
        return []
    folder = sources.task_folder(settings)
    return [str(path) for split in SPLITS if (path := folder / f"{split}.csv").is_file()]


def tokenizer_data(wildcards):
    """Return the training split that a `tiny` model's tokenizer is made from."""
    if CONFIG.settings["models"][wildcards.model]["source"] != "tiny":
        return []
    return f"{RESULTS}/download/data/{next(iter(CONFIG.tasks))}/train.csv"


def data_settings(wildcards):
    """Return what decides a task's data."""
    return CONFIG.data_settings(wildcards.task)


def model_settings(wildcards):
    """Return what decides the model; of a `tiny` one the task its tokenizer is made for is part."""
    settings = CONFIG.model_settings(wildcards.model)
    if settings["source"] == "tiny":
        settings["task"] = CONFIG.prepare_settings(next(iter(CONFIG.tasks)))
    return settings


def compared_settings(settings_of, folder):
    """Return the function of wildcards that gives a download's settings as text, for Snakemake to compare.

    A branch of the hub and the commit that it meant when it was downloaded are the same text.
    """

    def named(wildcards):
        return as_text(_at_download(settings_of, folder, wildcards))

    return named


def passed_settings(settings_of, folder):
    """Return the function that gives a download's settings as configured, as text, for the script.

    It takes `output`, so that Snakemake does not compare its value: `compared_settings` is what reruns the download.
    """

    def asked(wildcards, output):
        settings = settings_of(wildcards)
        name = _at_download(settings_of, folder, wildcards).get("revision")
        return as_text({**settings, "requested": name} if settings["source"] == "hub" else settings)

    return asked


def _at_download(settings_of, folder, wildcards):
    return manifests.name_at_download(settings_of(wildcards), Path(folder.format(**wildcards)) / "manifest.json")


def evaluate_command(wildcards, resources, threads):
    """Return how scoring is started; one process needs no launcher, which takes seconds."""
    return f"launch --ranks {resources.ranks} --cpus {threads} evaluate" if resources.ranks > 1 else "evaluate"


def trials_of(wildcards):
    """Return the folders of an optimizer's learning-rate trials."""
    folder = f"{RESULTS}/tuning/{wildcards.model}/{wildcards.task}/{wildcards.optimizer}"
    return [f"{folder}/rate{rate}" for rate in CONFIG.trial_rates(wildcards.optimizer)]


def tuning_options(wildcards, input, output):
    """Return the options of the comparison that go with learning-rate trials."""
    if not CONFIG.tuned:
        return ""
    parts = ["--choices", *input.choices, "--tuning", output.tuning, "--tuning-figure", output.tuning_figure]
    return shlex.join(map(str, parts))
