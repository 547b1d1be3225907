"""The image, built by `make sif` with a real Apptainer, and the workflow in it, from a host that has no torch.

Only the base differs from the recipe's: Debian's folder of the same release, because registries of images may be out of
reach. `make test-long` runs this where root has debootstrap.
"""

import dataclasses
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import apptainer_programs
import debian_folders
import installed_wheel
from documented_commands import commands_of
from one_message import assert_one_message
from samples import ROOT
from workflow_runs import RUN, Finished, Workplace, run, small

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(debian_folders.obstacle() is not None, reason=debian_folders.obstacle() or ""),
]
PAGE = "docs/container.md"
#: The checkout need not lie in a folder that every container sees.
SEEN = f"--bind {shlex.quote(str(ROOT))}"


@dataclasses.dataclass(frozen=True)
class Cluster:
    """What a site has: the image, Apptainer on PATH, and an environment that can submit jobs and no more."""

    image: Path
    environment: dict[str, str]
    python: Path

    def start(self, workplace, configuration, *words, arguments=SEEN, snakefile=ROOT / "Snakefile") -> Finished:
        site = {"ranks_per_node": 1, "cpus_per_rank": 1, "gpus_per_node": 0, "container": str(self.image)}
        workplace.site.write_text(yaml.safe_dump(site), "utf-8")
        options = ("--sdm", "apptainer", f"--apptainer-args={arguments}")
        command = workplace.command(configuration, *options, *words)
        command[command.index(ROOT / "Snakefile")] = snakefile
        return run(command, workplace.folder, {**self.environment, "DNATUNE_SITE": str(workplace.site)})

    def workplace(self, folder: Path) -> Workplace:
        return Workplace(folder, self.python)


def build(folder: Path, programs: Path) -> Path:
    """Build the image by `make sif` in a copy of the checkout, on the base of a Debian folder."""
    base = debian_folders.make(folder / "base", "bookworm")
    bound = debian_folders.use_pip_of_this_machine(base)
    checkout = installed_wheel.copy_sources(folder / "checkout")
    shutil.copy(ROOT / "Makefile", checkout)
    recipe = checkout / "envs/container/dnatune.def"
    text, count = re.subn(
        r"^Bootstrap: docker\nFrom: .*$", f"Bootstrap: localimage\nFrom: {base}", recipe.read_text("utf-8"), flags=re.M
    )
    assert count == 1
    recipe.write_text(text, "utf-8")
    environment = {
        "PATH": apptainer_programs.first_on_path(programs),
        "APPTAINER_BINDPATH": ",".join(bound),
        # To compress the image takes minutes, and shows nothing of it.
        "APPTAINER_MKSQUASHFS_ARGS": "-no-compression",
    }
    done = run(["make", "sif"], checkout, environment)
    assert done.code == 0, done.output[-3000:]
    # What the script says at the end, from the packages in the image.
    assert re.search(r"^dnatune \S+ with torch 2\.", done.output, re.MULTILINE)
    return checkout / "build/dnatune.sif"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    programs = debian_folders.apptainer(folder / "apptainer")
    image = build(folder, programs)
    # As the page says, in the checkout.
    (folder / "host").mkdir()
    (folder / "host/envs").symlink_to(ROOT / "envs")
    for command in commands_of(PAGE):
        words = shlex.split(command.text)
        if words[1:3] == ["-m", "venv"] or words[0] == ".venv/bin/pip":
            program = sys.executable if words[0] == "python" else folder / "host" / words[0]
            subprocess.run([program, *words[1:]], cwd=folder / "host", check=True, capture_output=True)
    environment = {"PATH": apptainer_programs.first_on_path(programs), "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
    return Cluster(image, environment, folder / "host/.venv/bin/python")


def test_the_whole_chain_runs_in_the_image(cluster, tmp_path):
    bare = subprocess.run([cluster.python, "-c", "import torch"], capture_output=True, check=False)
    assert bare.returncode != 0, "the host has torch of its own, and would show nothing"
    workplace = cluster.workplace(tmp_path / "work")
    done = cluster.start(workplace, small())
    assert done.code == 0, done.output
    assert (workplace.results / "report.html").stat().st_size > 10_000
    record = json.loads((workplace.results / RUN / "run.json").read_text("utf-8"))
    assert record["status"] == "completed"
    scores = json.loads((workplace.results / RUN.replace("finetune", "evaluate") / "metrics.json").read_text("utf-8"))
    assert scores["n"] == 60
    # A second start finds all of it done, in the same image.
    again = cluster.start(workplace, small(), "--dry-run")
    assert "Nothing to be done" in again.output
    # The plan is revised by the host's own Python before the first job, and nothing is trained again.
    done = cluster.start(workplace, small(comparison={"equivalence_margin": 0.07}))
    assert done.code == 0, done.output
    plan = json.loads((workplace.results / "plan/tiny/prom_core_all/plan.json").read_text("utf-8"))
    assert len(plan["versions"]) == 2
    assert json.loads((workplace.results / RUN / "run.json").read_text("utf-8")) == record


def test_the_package_in_the_image_serves_rules_without_a_checkout(cluster, tmp_path):
    installed_wheel.install_wheel(cluster.python, tmp_path / "wheel")
    (package,) = cluster.python.parents[1].glob("lib/python*/site-packages/dnatune")
    workplace = cluster.workplace(tmp_path / "work")
    target = "results/small/prepare/prom_core_all/train.jsonl"
    done = cluster.start(workplace, small(), "--", target, snakefile=package / "workflow/Snakefile")
    assert done.code == 0, done.output
    assert (workplace.folder / target).is_file()


@pytest.mark.parametrize(
    ("arguments", "phrases"),
    [
        (f"{SEEN} --cleanenv", ["the rules are those of", "--cleanenv"]),
        ("--no-mount tmp", ["does not see", "--bind"]),
        (f"{SEEN} --no-such-option", ["Python does not start in the container"]),
    ],
)
def test_what_apptainer_keeps_from_a_job_is_told_before_the_first(cluster, tmp_path, arguments, phrases):
    workplace = cluster.workplace(tmp_path / "work")
    done = cluster.start(workplace, small(), arguments=arguments)
    assert done.code != 0
    assert_one_message(done.output, "ConfigurationError", *phrases)
    assert not (workplace.folder / "logs").exists()
