"""Snakemake as it is, but that it prints the sbatch line of each job it would submit, as JSON, and submits none.

Jobs, groups and what they ask for are the workflow's own, and the lines the Slurm plugin's. Nothing of Slurm is needed.

By hand:  DNATUNE_SITE=taiwania2 python tests/support/sbatch_lines.py --profile slurm --no-hooks --directory /tmp/x all
"""

import json
import os
import sys
from types import SimpleNamespace

import snakemake_executor_plugin_slurm as plugin
from snakemake.cli import main
from snakemake.scheduling.job_scheduler import JobScheduler
from snakemake_executor_plugin_slurm.submit_string import get_submit_command
from snakemake_executor_plugin_slurm.utils import set_gres_string
from snakemake_executor_plugin_slurm.validation import validate_slurm_extra

#: What is another with each run, or known to a cluster alone.
_FIELDS = {"run_uuid": "RUN", "slurm_logfile": "LOG", "comment_str": "COMMENT", "workdir": "FOLDER"}


def _lines(scheduler: JobScheduler) -> bool:
    """Print {rules and optimizer: line} in the place of submitting, and tell Snakemake that all went well."""
    workflow, dag = scheduler.workflow, scheduler.workflow.dag
    # A cluster would be asked whether an account is known, and what to take where none is named.
    plugin.validate_account = lambda account, _logger: account
    executor = SimpleNamespace(_fallback_account_arg="", _fallback_partition="", _partitions=None, logger=None)
    jobs = {dag.get_job_group(job) or job for job in dag.needrun_jobs() if not job.is_local and not job.is_norun}
    found: dict[str, str] = {}
    for job in jobs:
        validate_slurm_extra(job)
        account = next(plugin.Executor.get_account_arg(executor, job))
        parameters = {**_FIELDS, "account": account, "partition": plugin.Executor.get_partition_arg(executor, job)}
        line = get_submit_command(job, parameters, settings=workflow.executor_settings) + set_gres_string(job)
        members = job.jobs if job.is_group() else [job]
        name = ", ".join(sorted({member.rule.name for member in members}))
        optimizers = {member.wildcards.get("optimizer") for member in members} - {None}
        name += "".join(f" of {optimizer}" for optimizer in sorted(optimizers))
        if found.setdefault(name, line) != line:
            sys.exit(f"{name} has two lines:\n{line}\n{found[name]}")
    submitted = {rule.name for rule in workflow.rules if not workflow.is_local(rule)}
    json.dump({"rules": sorted(submitted), "lines": dict(sorted(found.items()))}, sys.stdout)
    return True


if __name__ == "__main__":
    # As many cores as the snapshots were made with, whatever this machine has.
    os.sched_getaffinity = lambda _process: set(range(8))
    JobScheduler.schedule = _lines
    main()
