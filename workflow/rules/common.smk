"""Shared by all stages: the checked configuration, the site, paths, and the resources and settings of jobs.

Config keys used: name; the rest through `CONFIG`.
Site keys used: all, through `SITE`.
"""

import json
import os
import re
import shlex
from pathlib import Path

import snakemake.jobs
from snakemake.logging import logger as snakemake_logger
from snakemake.settings.types import DeploymentMethod

from dnatune.data.own_data import fitting
from dnatune.errors import ConfigurationError, DnatuneError
from dnatune.launch import containers, job_environment, resubmission, screen, snakemake_lock
from dnatune.settings import command_line, experiment, grid, settings_file, site
from dnatune.settings.tasks import SPLITS


def report_errors(function, *arguments):
    """Return the function's value; a mistake of the user's ends in its message, not in a traceback."""
    try:
        return function(*arguments)
    except DnatuneError as error:
        raise WorkflowError(f"{type(error).__name__}: {error}") from None


def placed(path):
    """Return a path with the prefix of the module, which Snakemake adds to inputs and outputs but not to parameters."""
    return workflow.modifier.path_modifier.replace_prefix(path)


def require_configuration():
    """Refuse a module whose statement gives it no configuration."""
    if not workflow.modifier.is_main_snakefile() and not config:
        raise ConfigurationError(
            "the module has no configuration",
            where=f"the statement `module {workflow.modifier.namespace}` of the Snakefile",
            fix="give it one there, `config: config` after a `configfile:`, or a part of the configuration",
        )


if workflow.is_main_process:
    for path in workflow.configfiles:
        report_errors(settings_file.read, Path(path))
report_errors(job_environment.refuse_locale, config)
report_errors(require_configuration)
# What `--config` gives is part of the main configuration; a module may have another.
IS_MAIN_CONFIG = config is workflow.modifier_stack[0].globals["config"]
GIVEN = command_line.read_scalars(config, workflow.config_settings.config if IS_MAIN_CONFIG else {})
if workflow.is_main_process:
    report_errors(fitting.check, GIVEN)
CONFIG = report_errors(experiment.resolve, GIVEN)
SITE = report_errors(site.load, ROOT, os.environ)
report_errors(site.refuse_overrides, workflow.resource_settings.overwrite_resources)
NODES = report_errors(SITE.requested_nodes, workflow.resource_settings.overwrite_resources, CONFIG.optimizers)
RESULTS = f"results/{CONFIG.name}"
LOGS = f"logs/{CONFIG.name}"
RUNS = CONFIG.runs()
CONTAINED = DeploymentMethod.APPTAINER in workflow.deployment_settings.deployment_method
CONTAINER = containers.Wanted(
    image=SITE.container,
    site=SITE.path,
    arguments=workflow.deployment_settings.apptainer_args or "",
    nodes=max(SITE.layout(optimizer, NODES)[0] for optimizer in CONFIG.optimizers),
    gpus=SITE.gpus,
    with_conda=DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method,
)
# Snakemake takes a brace in a path, even in that of the checkout, for the beginning of a wildcard.
# The installed package is where Snakemake is, and no environment of conda has it.
ENVIRONMENT = str(ROOT / "envs/dnatune.yaml").replace("{", "{{").replace("}", "}}") if LIBRARY else None
EXPERIMENT = placed(f"{RESULTS}/experiment.json")

IN_SLURM_JOB = "SLURM_JOB_ID" in os.environ and SITE.slurm is not None
if IN_SLURM_JOB:
    job_environment.ignore_end_signal()
# A Snakemake that submits jobs downloads, wherever it was started.
job_environment.prepare(
    LIBRARY,
    SITE.slurm.modules if IN_SLURM_JOB else [],
    SITE.exports(IN_SLURM_JOB, offline=workflow.remote_exec),
)
if workflow.is_main_process:
    report_errors(CONFIG.require_files)
    for caution in CONFIG.cautions():
        snakemake_logger.warning(f"dnatune: {caution}")
# A Snakefile may use the module more than once; its process is prepared once.
IS_FIRST = not hasattr(workflow, "dnatune_failures")
if IS_FIRST:
    if workflow.is_main_process:
        snakemake_lock.mark_jobs()
        for caution in snakemake_lock.remove_dead():
            snakemake_logger.warning(f"dnatune: {caution}")
    workflow.dnatune_failures = screen.watch(
        snakemake_logger,
        Path.cwd() if workflow.overwrite_workdir else None,
        CONTAINER.interpreter(LIBRARY) if CONTAINED else None,
    )
    report_errors(resubmission.Resubmission(workflow.is_main_process).install, snakemake.__version__, snakemake.jobs)
if not workflow.is_main_process:
    report_errors(CONFIG.refuse_change, Path(EXPERIMENT))


IMAGE = report_errors(CONTAINER.image_of_jobs, workflow.is_main_process) if CONTAINED else None
if IMAGE:

    container: IMAGE


wildcard_constraints:
    model="[^/]+",
    task="[^/]+",
    optimizer="[^/]+",
    seed="[0-9]+",
    rate="[0-9.e+-]+",
    index="[0-9]+",


def resources_of(name, mem_mb, runtime):
    """Return a rule's resources: memory and time as it asks for them, and what the site makes of it."""

    def part(key):
        def resource(wildcards):
            return SITE.resources(name, wildcards.get("optimizer"), NODES, mem_mb, runtime).get(key)

        return resource

    if name != "finetune":
        return SITE.resources(name, None, None, mem_mb, runtime)
    asked = [SITE.resources(name, optimizer, NODES, mem_mb, runtime) for optimizer in CONFIG.optimizers]
    return {key: part(key) for key in site.RESOURCES if any(key in resources for resources in asked)}


def grouped(name):
    """Return the group that rules share a job by, where every job must take a GPU; elsewhere each has its own."""
    return name if SITE.slurm and SITE.slurm.every_job_needs_gpu else None


def compared(*settings):
    """Return what of some settings decides a result as one line of JSON; if it changes, Snakemake reruns the rule.

    Rules call it in a lambda: braces in a plain string of `params` would be names to fill in.
    """
    return json.dumps([part.compared() for part in settings], ensure_ascii=False, sort_keys=True)
