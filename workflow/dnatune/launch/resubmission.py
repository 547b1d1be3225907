"""When Snakemake tries a failed job again, and which jobs of an earlier Snakemake it must not repeat.

Snakemake has no interface by which a workflow says of one job that it shall not be tried again. So three of its methods
are replaced here, and nowhere else. They were tested with the versions below; any other is refused at the start.
"""

import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dnatune import errors, outcomes
from dnatune.errors import ConfigurationError, DnatuneError, RunError
from dnatune.launch import end_signals, slurm

#: The versions of Snakemake that this was tested with: from the first to below the second.
TESTED = ((9, 27), (9, 28))
#: What is replaced or called, with the parameters that it must take.
_NEEDED = {
    "Job.register": ("external_jobid",),
    "Job.postprocess": ("error",),
    "Job.restart_times": (),
    "GroupJob.restart_times": (),
}


def check_snakemake(version: str, jobs: Any) -> None:
    """Check that this Snakemake is one whose handling of retries is known.

    Args:
        version: of Snakemake, such as `9.27.1`.
        jobs: the module `snakemake.jobs`.

    Raises:
        ConfigurationError: another version, or one that lacks what is needed here.
    """
    first = ".".join(map(str, TESTED[0]))
    fix = f"install Snakemake {first} (envs/requirements.lock has the version that was tested)"
    found = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if not TESTED[0] <= found < TESTED[1]:
        raise ConfigurationError(f"Snakemake {version} was not tested with dnatune, {first} was", fix=fix)
    for name, parameters in _NEEDED.items():
        owner, method = name.split(".")
        member = inspect.getattr_static(getattr(jobs, owner, None), method, None)
        taken = inspect.signature(member).parameters if inspect.isfunction(member) else {}
        if member is None or not all(parameter in taken for parameter in parameters):
            raise ConfigurationError(f"this Snakemake has no {name}({', '.join(parameters)})", fix=fix)


class Resubmission:
    """The decisions about retries in one run of Snakemake.

    Args:
        main: whether this is the Snakemake that submits jobs; otherwise it is one inside a job.
        environment: environment variables; the number of the Slurm job, inside one, is among them.
    """

    def __init__(self, main: bool, environment: Mapping[str, str] = os.environ):
        self._main, self._environment = main, environment
        #: Of each submitted job Slurm's number.
        self._numbers: dict[Any, str] = {}
        #: Of each job the outcome files, by their time of change, which say that the run was saved. An attempt that
        #: never began leaves the file of the one before as it was, and that counts once.
        self._saved: dict[Any, set[int]] = {}

    def install(self, version: str, jobs: Any) -> None:
        """Replace Snakemake's methods.

        Args:
            version, jobs: as in `check_snakemake`.

        Raises:
            ConfigurationError: see `check_snakemake`.
        """
        check_snakemake(version, jobs)
        register, postprocess = jobs.Job.register, jobs.Job.postprocess

        def noting_register(job: Any, external_jobid: str | None = None) -> None:
            register(job, self.number_of(job, external_jobid))

        async def noting_postprocess(job: Any, *arguments: Any, error: bool = False, **options: Any) -> None:
            await postprocess(job, *arguments, error=error, **options)
            # The job may be back in the queue: a Snakemake that starts meanwhile must find its number.
            if error and not self._main:
                job.register()

        jobs.Job.register, jobs.Job.postprocess = noting_register, noting_postprocess
        jobs.Job.restart_times = property(self.retries)
        jobs.GroupJob.restart_times = property(lambda group: min(job.restart_times for job in group.jobs))

    def number_of(self, job: Any, submitted: str | None) -> str | None:
        """Return the Slurm number that Snakemake records with a job's outputs.

        Snakemake itself forgets the number as soon as the job has begun.

        Args:
            job: a job of Snakemake.
            submitted: Slurm's number, if the job has just been submitted.
        """
        if submitted:
            self._numbers[job] = submitted
        elif not self._main:
            return self._environment.get("SLURM_JOB_ID")
        return submitted

    def retries(self, job: Any) -> int:
        """Return how often a failed job may be tried again.

        A job that would fail in the same way, or that somebody has cancelled, is not tried again; nor is any when this
        Snakemake was told to end. A saved run that is continued uses none of the retries.
        """
        if end_signals.told_to_end():
            return 0
        files = [file for file in map(outcomes.beside, map(Path, job.log)) if file.is_file()]
        ended = {file: told[0] for file in files if (told := outcomes.read(file))}
        if any(isinstance(failure, errors.REPEATING) for failure in ended.values()):
            return 0
        if job in self._numbers:
            # A lost node, a preemption and a time limit have states of their own.
            if slurm.job_state(self._numbers[job]) == "CANCELLED":
                return 0
            saved = {file.stat().st_mtime_ns for file, failure in ended.items() if _interrupted(failure)}
            self._saved.setdefault(job, set()).update(saved)
        return job.rule.restart_times + len(self._saved.get(job, ()))


def _interrupted(failure: DnatuneError) -> bool:
    return isinstance(failure, errors.Interrupted)


def refuse_pending(jobs: set[str]) -> None:
    """Refuse to go on while Slurm jobs that would write the same files are still to start.

    Jobs that run hold the locks of their runs, and whoever comes second waits for them.

    Args:
        jobs: Slurm's numbers of jobs that were submitted for the files.

    Raises:
        RunError: some of them are pending. If Slurm cannot be asked, none counts as pending.
    """
    pending = slurm.pending_jobs() if jobs else {}
    found = sorted(jobs & pending.keys())
    if found:
        raise RunError(
            "an earlier Snakemake has left jobs in the queue, which would make the same files again after this one: "
            + ", ".join(f"{number} ({pending[number]})" for number in found),
            fix=f"scancel {' '.join(found)}; then start again",
        )
