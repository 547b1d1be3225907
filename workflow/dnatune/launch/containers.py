"""Jobs in a container, which Snakemake starts by `apptainer exec` with `--sdm apptainer`: what is needed for that.

The image brings Python and its packages. The library comes from the checkout of the rules, where there is one:
Apptainer hands on the environment, and with it `PYTHONPATH`.
"""

import contextlib
import dataclasses
import json
import os
import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dnatune.errors import ConfigurationError

#: The programs that Snakemake knows, in its order.
_PROGRAMS = ("apptainer", "singularity")
#: Options by which a container sees GPUs, and environment variables that stand for them.
_GPU_OPTIONS = ("--nv", "--nvccli", "--rocm")
_GPU_VARIABLES = tuple(
    f"{program}_{option}" for program in ("APPTAINER", "SINGULARITY") for option in ("NV", "NVCCLI", "ROCM")
)
#: Folders that a stage uses if the environment names them.
_FOLDERS = ("TMPDIR", "HF_HOME", "HF_HUB_CACHE")
#: Environment variable with what keeps the jobs of this machine out of the container, for the rule's own command: its
#: message then stands in the rule's log, and the job is not tried again.
OBSTACLE = "DNATUNE_NO_CONTAINER"
#: Longest time that an image may take to start Python: a folder on a busy file server is slow the first time.
_PATIENCE = 300
_PAGE = "docs/container.md"
#: What the container's Python is asked: which library it takes, in which version, and which paths it does not see.
_QUESTION = """
import importlib.metadata, importlib.util, json, os, sys
found = importlib.util.find_spec("dnatune")
try:
    version = importlib.metadata.version("dnatune")
except importlib.metadata.PackageNotFoundError:
    version = None
unseen = [path for path in sys.argv[1:] if not os.path.exists(path)]
print(json.dumps({"library": found and os.path.dirname(found.origin), "version": version, "unseen": unseen}))
"""


@dataclasses.dataclass(frozen=True)
class Wanted:
    """How jobs are to run in a container.

    Attributes:
        image: path or URI of the image; None if the site names none.
        site: the site file.
        arguments: what `--apptainer-args` gives, a part of a shell command.
        nodes: most nodes of a finetune run.
        gpus: GPUs of a node.
        with_conda: whether `--sdm conda` was given as well.
    """

    image: str | None
    site: Path
    arguments: str
    nodes: int
    gpus: int
    with_conda: bool

    def require(self, environment: Mapping[str, str]) -> str:
        """Return the image, if this machine can run it, as far as that shows without starting it.

        Args:
            environment: environment variables.

        Raises:
            ConfigurationError: the site names no image, or none that is there; Apptainer is missing; or the jobs need
                what no container has.
        """
        key = f"{self.site}: key 'container'"
        if self.image is None:
            raise ConfigurationError(
                "jobs are to run in a container, and this site names no image",
                where=key,
                fix=f"give the path of an image there ({_PAGE} shows how to make one), or leave out --sdm apptainer",
            )
        if self.with_conda:
            raise ConfigurationError(
                "jobs run in a container or in a conda environment, not in both",
                where="--sdm",
                fix="leave out conda: the image has every package",
            )
        if self.nodes > 1:
            raise ConfigurationError(
                f"a finetune run on {self.nodes} nodes is started by srun, which is not in the container",
                where=f"{self.site}: key 'nodes', or --set-resources finetune:nodes",
                fix="give one node, or leave out --sdm apptainer",
            )
        if self.gpus and not self._sees_gpus(environment):
            raise ConfigurationError(
                "jobs are to use GPUs, and a container sees none without --nv",
                where="--apptainer-args",
                fix=f"add {self._with('--nv')}",
            )
        if not any(map(shutil.which, _PROGRAMS)):
            raise ConfigurationError(
                "neither apptainer nor singularity is on PATH",
                where=f"this machine ({socket.gethostname()})",
                fix="load the module that brings it (module avail; for jobs key 'slurm.modules' of the site), or leave "
                "out --sdm apptainer",
            )
        if self.image.startswith("/") and not Path(self.image).exists():
            raise ConfigurationError(
                f"there is no image {self.image}",
                where=key,
                fix=f"copy it there or correct the path; `make sif` makes it ({_PAGE})",
            )
        return self.image

    def _sees_gpus(self, environment: Mapping[str, str]) -> bool:
        return any(word in _GPU_OPTIONS for word in self.arguments.split()) or any(map(environment.get, _GPU_VARIABLES))

    def _with(self, option: str) -> str:
        """Return `--apptainer-args` with one more option."""
        # Behind a space, argparse would take it for one of Snakemake's options.
        return f"--apptainer-args={shlex.quote(f'{self.arguments} {option}'.strip())}"

    def image_of_jobs(self, is_main: bool) -> str | None:
        """Return the image in which jobs of this process run.

        In a job, which may be on another machine, an obstacle is left to the rule's own command (`refuse_obstacle`).
        That runs outside the container then, where it needs no more than this module.

        Args:
            is_main: whether this is the Snakemake that the user has started.

        Raises:
            ConfigurationError: see `require`; only of the main process.
        """
        try:
            return self.require(os.environ)
        except ConfigurationError as obstacle:
            if is_main:
                raise
            os.environ[OBSTACLE] = json.dumps([obstacle.what, obstacle.where, obstacle.fix])
            return None

    def check_start(self, command: str, library: Path | None, version: str | None) -> None:
        """Start Python in the container once, and check that a job finds there what it needs.

        Args:
            command: the shell command that runs `question(…)` in the container, as one of a job would run.
            library: the checkout's folder `workflow`; None if the package is installed.
            version: of the rules, if they have no checkout.

        Raises:
            ConfigurationError: it does not start, it does not see a path, or its library is another than that of the
                rules.
        """
        told = self._answer(command)
        for path in told["unseen"]:
            folder = path if Path(path).is_dir() else str(Path(path).parent)
            raise ConfigurationError(
                f"the container does not see {path}",
                where="--apptainer-args",
                fix=f"add {self._with(f'--bind {shlex.quote(folder)}')}",
            )
        found = told["library"] and Path(told["library"]).parent
        if library and (found is None or found.resolve() != library.resolve()):
            raise ConfigurationError(
                f"the rules are those of {library}, and the container's Python takes dnatune from {found or 'nowhere'}",
                where="--apptainer-args",
                fix="leave out what keeps the environment from the container, such as --cleanenv and --containall "
                "(PYTHONPATH leads to the rules' library)",
            )
        if not library and told["version"] != version:
            held = f"dnatune {told['version']}" if told["version"] else "no dnatune"
            raise ConfigurationError(
                f"the image holds {held}, and the rules are of version {version}",
                where=str(self.image),
                fix=f"make it anew from the same version ({_PAGE})",
            )

    def _answer(self, command: str) -> dict[str, Any]:
        """Return what the container's Python says to `question`."""
        told = f"no answer within {_PATIENCE} s"
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = subprocess.run(
                ["bash", "-c", command],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=_PATIENCE,
            )
            told = (done.stderr.strip() or f"no answer, exit status {done.returncode}").splitlines()[-1][:300]
            with contextlib.suppress(ValueError, IndexError):
                answer = json.loads(done.stdout.strip().splitlines()[-1])
                if isinstance(answer, dict):
                    return answer
        raise ConfigurationError(
            f"Python does not start in the container: {told}",
            where=str(self.image),
            fix=f"correct what this says; by hand: {self.interpreter(None)} -c 'import dnatune' ({_PAGE})",
        )

    def interpreter(self, library: Path | None) -> str:
        """Return what stands for `python` in a command that a user can paste."""
        program = next(filter(shutil.which, _PROGRAMS), _PROGRAMS[0])
        leading = ["--env", f"PYTHONPATH={library}"] if library else []
        words = [program, "exec", "--home", '"$PWD"', shlex.join(leading), self.arguments, str(self.image), "python"]
        return " ".join(filter(None, words))


def question(paths: Sequence[str]) -> str:
    """Return the command, run in the container, by which `Wanted.check_start` asks."""
    return shlex.join(["python", "-c", _QUESTION, *paths])


def paths_named(settings: Any) -> Iterator[str]:
    """Yield each text of a configuration that is a path of something on this machine."""
    for value in settings.values() if isinstance(settings, Mapping) else settings:
        if isinstance(value, str):
            # An instruction may be longer than a path can be, for which that of `Path` raises an error.
            if os.path.exists(value):  # noqa: PTH110
                yield value
        elif isinstance(value, Mapping | Sequence):
            yield from paths_named(value)


def paths_of_environment(environment: Mapping[str, str]) -> list[str]:
    """Return the folders that stages use because the environment names them."""
    return [folder for name in _FOLDERS if (folder := environment.get(name)) and Path(folder).exists()]


def refuse_obstacle() -> None:
    """Refuse to run a stage outside the container that it was meant to run in.

    Raises:
        ConfigurationError: this machine cannot run the container.
    """
    if told := os.environ.get(OBSTACLE):
        what, where, fix = json.loads(told)
        raise ConfigurationError(what, where=where, fix=fix)
