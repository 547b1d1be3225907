"""What happens before the first job and after a failure: the configuration is written, and messages come last.

Snakemake ignores the directives `onstart:` and `onerror:` of a module, so these functions are called after those of the
Snakefile that uses it.

Config keys used: through `CONFIG`.
Site keys used: slurm
"""

import importlib.metadata

from snakemake.deployment import singularity

from dnatune.launch import containers, end_signals, resubmission, screen, snakemake_lock


def write_experiment():
    """Write the configuration for the jobs, and revise the plans where it has changed."""
    if CONFIG.write(Path(EXPERIMENT)) and Path(placed(RESULTS), "plan").is_dir():
        # If the plans cannot be revised, the next start tries again.
        results = placed(RESULTS)
        shell("python -m dnatune plan --experiment {EXPERIMENT:q} --results {results:q} || ! rm {EXPERIMENT:q}")


def prepare_process():
    """Say who holds the folder, and end jobs together with Snakemake."""
    snakemake_lock.leave_record(workflow.persistence)
    if workflow.local_exec:
        end_signals.end_jobs_too()
    elif workflow.executor_plugin.name == "slurm":
        end_signals.end_jobs_too(workflow.scheduler._executor)


def check_slurm():
    """Refuse a site without Slurm, and to submit a job that already waits."""
    if workflow.executor_plugin.name == "slurm":
        report_errors(SITE.require_slurm)
        persistence = workflow.persistence
        left = {number for job in workflow.dag.needrun_jobs() for number in persistence.external_jobids(job)}
        report_errors(resubmission.refuse_pending, left)


def check_container():
    """Refuse a container in which no job would find what it needs."""
    for path in {image.path for url, image in workflow.dag.container_imgs.items() if url == IMAGE}:
        seen = [
            *([str(LIBRARY)] if LIBRARY else []),
            *containers.paths_named(CONFIG.settings),
            *containers.paths_of_environment(os.environ),
        ]
        command = singularity.shellcmd(
            path,
            containers.question(seen),
            bind=workflow.runtime_paths,
            args=CONTAINER.arguments,
            shell_executable="bash",
        )
        version = None if LIBRARY else importlib.metadata.version("dnatune")
        report_errors(CONTAINER.check_start, command, LIBRARY, version)


def before_jobs(log):
    """Prepare the process, once, write the configuration, and check what jobs are to be given."""
    if IS_FIRST:
        prepare_process()
        check_container()
    write_experiment()
    if IS_FIRST:
        check_slurm()


def after_failure(log):
    """Print the messages of failed jobs last."""
    screen.print_at_exit(workflow.dnatune_failures, end_signals.told_to_end())


def chained(first, second):
    """Return a function that calls two with the same log file."""

    def both(log):
        first(log)
        second(log)

    return both


workflow._onstart = chained(workflow._onstart, before_jobs)
if IS_FIRST:
    workflow._onerror = chained(workflow._onerror, after_failure)
