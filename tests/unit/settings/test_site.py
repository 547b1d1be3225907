"""Sites: which file is taken, what a job asks for there, and what is refused before anything is submitted."""

import dataclasses
import functools
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dnatune.errors import ConfigurationError
from dnatune.settings import site as sites
from samples import ROOT


def load(tmp_path, environment=None, **keys):
    path = tmp_path / "site.yaml"
    if "slurm" in keys:
        keys = {"gpus_per_node": 0, "cpus_per_rank": 1, **keys}
    path.write_text(yaml.safe_dump(keys), "utf-8")
    return sites.load(ROOT, {"DNATUNE_SITE": str(path), **(environment or {})})


def finetune(site, optimizer="adamw", nodes=None):
    return site.resources("finetune", optimizer, nodes, site.mem_mb, site.runtime)


def test_nodes_of_the_command_line_change_nodes_and_tasks_and_nothing_else(tmp_path):
    site = load(tmp_path, gpus_per_node=8, slurm={"account": "a", "partition": "p"})
    one, four = finetune(site), finetune(site, nodes=4)
    assert one["nodes"] == 1 and "tasks" not in one and "mpi" not in one
    assert {**one, "nodes": 4, "tasks": 4, "mpi": "srun"} == four
    assert four["ranks"] == 8 and four["gres"] == "gpu:8"


@pytest.mark.parametrize(
    ("slurm", "expected"),
    [
        ({}, {"gres": "gpu:4", "tasks_per_gpu": 0}),
        ({"gpu_type": "a100"}, {"gres": "gpu:a100:4", "tasks_per_gpu": 0}),
        ({"gpu_request": "gpus_per_node"}, {"slurm_extra": "--gpus-per-node=4 --signal=USR1@300"}),
        (
            {"gpu_type": "nvidia_a100-sxm4-80gb"},
            {"slurm_extra": "--gpus-per-node=nvidia_a100-sxm4-80gb:4 --signal=USR1@300"},
        ),
        ({"gpu_request": "none"}, {}),
    ],
)
def test_gpus_are_asked_for_as_the_cluster_likes_it(tmp_path, slurm, expected):
    asked = finetune(load(tmp_path, gpus_per_node=8, ranks_per_node=4, slurm=slurm))
    keys = ("gres", "tasks_per_gpu", *(["slurm_extra"] if "slurm_extra" in expected else []))
    assert {key: asked[key] for key in keys if key in asked} == expected
    assert asked["slurm_extra"].endswith("--signal=USR1@300")


def test_cpu_rules_take_a_gpu_only_where_every_job_must(tmp_path):
    for needs, expected in ((False, None), (True, "gpu:1")):
        site = load(tmp_path, gpus_per_node=8, slurm={"every_job_needs_gpu": needs})
        assert site.resources("prepare", None, None, 4000, "30m").get("gres") == expected
        assert site.resources("evaluate", None, None, 4000, "4h")["gres"] == "gpu:1"


def test_rules_that_share_a_job_ask_for_no_more_time_than_a_job_may_take(tmp_path):
    site = load(tmp_path, gpus_per_node=8, runtime="50m", slurm={"every_job_needs_gpu": True})
    assert site.resources("prepare", None, None, 4000, "30m")["runtime"] == "25m"
    assert site.resources("evaluate", None, None, 4000, "4h")["runtime"] == "50m"


def test_a_test_set_is_shared_by_the_gpus_that_the_site_says(tmp_path):
    site = load(tmp_path, gpus_per_node=8, rules={"evaluate": {"ranks_per_node": 4}}, slurm={})
    evaluate = site.resources("evaluate", None, None, 4000, "4h")
    assert (evaluate["gres"], evaluate["ranks"]) == ("gpu:4", 4)


def test_overrides_by_rule_and_optimizer(tmp_path):
    site = load(
        tmp_path,
        gpus_per_node=8,
        mem_mb=9000,
        slurm={"partition": "usual"},
        rules={"compare": {"mem_mb": 50, "partition": "cpu", "runtime": "1d"}},
        optimizers={"big": {"nodes": 3, "runtime": "2d"}},
    )
    assert finetune(site, "big")["nodes"] == 3 and finetune(site, "big")["runtime"] == "2d"
    assert finetune(site, "small")["nodes"] == 1
    compare = site.resources("compare", None, None, 9000, "2h")
    assert (compare["mem_mb"], compare["slurm_partition"], compare["runtime"]) == (50, "cpu", "1d")


def test_no_job_asks_for_more_time_than_the_site_gives(tmp_path):
    """Above its partition's limit a job would wait for ever."""
    site = load(tmp_path, runtime="50m", slurm={})
    assert site.resources("evaluate", None, None, 10, "2h")["runtime"] == "50m"
    assert site.resources("prepare", None, None, 10, "30m")["runtime"] == "30m"


def test_without_slurm_nothing_of_slurm_is_asked(tmp_path):
    site = load(tmp_path, {"CUDA_VISIBLE_DEVICES": "0,1"})
    assert finetune(site) == {"mem_mb": 16000, "runtime": "12h", "nodes": 1, "ranks": 2}
    assert site.exports(True, offline=True) == {}
    assert dataclasses.replace(site, verify=True).exports(False, offline=True) == {"DNATUNE_VERIFY": "1"}


def test_an_image_is_a_path_or_where_it_is_fetched_from(tmp_path):
    assert load(tmp_path).container is None
    for image in (
        "/shared/dnatune-0.1.sif",
        "docker://registry.org:5000/lab/dnatune:0.1@sha256",
        "oras://host/dnatune",
    ):
        assert load(tmp_path, container=image).container == image


def test_a_site_without_slurm_is_no_place_to_submit_from(tmp_path):
    with pytest.raises(ConfigurationError, match="says nothing of it"):
        load(tmp_path).require_slurm()
    load(tmp_path, slurm={}).require_slurm()


def test_jobs_stay_off_the_hub_and_take_the_interface(tmp_path):
    site = load(tmp_path, slurm={"network_interface": "ib0", "scratch": str(tmp_path)})
    always = {"NCCL_SOCKET_IFNAME": "ib0", "GLOO_SOCKET_IFNAME": "ib0", "TMPDIR": str(tmp_path)}
    assert site.exports(True, offline=True) == {"HF_HUB_OFFLINE": "1", **always}
    assert site.exports(True, offline=False) == always


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"nodes": 0}, ["nodes", "at least 1"]),
        ({"nodes": 2}, ["2 nodes need Slurm"]),
        ({"gpus_per_node": 4, "ranks_per_node": 8}, ["8 ranks a node", "4 GPUs"]),
        ({"gpus_per_node": 4, "optimizers": {"a": {"ranks_per_node": 5}}}, ["5 ranks a node"]),
        ({"gpus_per_node": 4, "rules": {"evaluate": {"ranks_per_node": 5}}}, ["5 ranks score", "4 GPUs"]),
        ({"rules": {"evalute": {"mem_mb": 1}}}, ["unknown rule 'evalute'", "evaluate"]),
        ({"rules": {"evaluate": {"nodes": 2}}}, ["rule evaluate has no nodes"]),
        ({"rules": {"compare": {"ranks_per_node": 2}}}, ["rule compare has no ranks_per_node"]),
        ({"slurm": {"account": "me; rm -rf /"}}, ["slurm.account", "must match"]),
        ({"slurm": {"partition": "$(id)"}}, ["slurm.partition", "must match"]),
        ({"slurm": {"modules": ["cuda; id"]}}, ["slurm.modules", "must match"]),
        ({"slurm": {"scratch": "/no/such/folder"}}, ["/no/such/folder does not exist", "slurm.scratch"]),
        ({"container": "dnatune.sif"}, ["container", "must match", "an absolute path"]),
        ({"container": "/a b.sif"}, ["container", "must match"]),
        ({"container": "/$(id).sif"}, ["container", "must match"]),
        ({"container": "/{name}.sif"}, ["container", "must match"]),
        ({"container": "ftp://host/image"}, ["container", "must match"]),
        ({"slurm": {"acount": "x"}}, ["unknown key 'acount'", "did you mean 'account'"]),
        # An option, to the program that is handed the word.
        ({"slurm": {"account": "-x"}}, ["slurm.account", "must match"]),
        ({"slurm": {"modules": ["--force"]}}, ["slurm.modules", "must match"]),
        # A line's end would cut the command in two.
        ({"gpus_per_node": 4, "slurm": {"gpu_type": "a100\n"}}, ["slurm.gpu_type", "must match"]),
        ({"slurm": {"account": "me\n"}}, ["slurm.account", "must match"]),
        ({"slurm": {"modules": ["cuda\n"]}}, ["slurm.modules", "must match"]),
        ({"runtime": "1h\n"}, ["runtime", "must match"]),
        # The characters of the one are none of the other's.
        ({"slurm": {"partition": "a|b"}}, ["slurm.partition", "must match"]),
        ({"slurm": {"partition": "a,"}}, ["slurm.partition", "must match"]),
        ({"slurm": {"partition": "a,-b"}}, ["slurm.partition", "must match"]),
        ({"slurm": {"constraint": "a,b"}}, ["slurm.constraint", "must match"]),
        ({"slurm": {"constraint": "a||b"}}, ["slurm.constraint", "must match"]),
        ({"slurm": {"account": "a,b"}}, ["slurm.account", "must match"]),
        ({"runtime": "0h"}, ["runtime", "must match"]),
        ({"rules": {"compare": {"runtime": "0m"}}}, ["rules.compare.runtime", "must match"]),
        # Five minutes are left from a job's start to its signal.
        ({"runtime": "5m", "slurm": {}}, ["job of 5m", "300 s", "slurm.signal_seconds", "10m or more"]),
        ({"runtime": "9m", "slurm": {}}, ["job of 9m", "10m or more"]),
        ({"runtime": "2h", "slurm": {"signal_seconds": 7200}}, ["job of 2h", "7200 s", "125m or more"]),
        ({"slurm": {}, "rules": {"finetune": {"runtime": "5m"}}}, ["job of 5m"]),
        ({"slurm": {}, "optimizers": {"quick": {"runtime": "9m"}}}, ["job of 9m"]),
        ({"slurm": {"every_job_needs_gpu": True}}, ["needs a GPU", "gpus_per_node"]),
        (
            {"gpus_per_node": 4, "slurm": {"every_job_needs_gpu": True, "gpu_request": "none"}},
            ["needs a GPU", "slurm.gpu_request"],
        ),
        (
            {
                "gpus_per_node": 4,
                "runtime": "1m",
                "slurm": {"every_job_needs_gpu": True},
                "rules": {"finetune": {"runtime": "1h"}},
            },
            ["1m is too short", "2m or more"],
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path, keys, words):
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, **keys)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_job_has_five_minutes_before_its_signal(tmp_path):
    assert load(tmp_path, runtime="10m", slurm={}).slurm.signal_seconds == 300
    assert load(tmp_path, runtime="6m", slurm={"signal_seconds": 60}).runtime == "6m"
    # Without Slurm nobody signals.
    assert load(tmp_path, runtime="1m").runtime == "1m"


@pytest.mark.parametrize("nodes", [0, -1, "two"])
def test_nodes_of_the_command_line_must_be_a_number(tmp_path, nodes):
    with pytest.raises(ConfigurationError, match="whole number"):
        load(tmp_path, slurm={}).layout("adamw", nodes)


@pytest.mark.parametrize("key", ["gpus_per_node", "cpus_per_rank"])
def test_what_this_machine_has_is_not_asked_of_a_cluster(tmp_path, key):
    with pytest.raises(ConfigurationError, match=f"{key}"):
        load(tmp_path, **{key: "auto"}, slurm={})


def test_on_one_machine_with_gpus_one_job_scores_at_a_time(tmp_path):
    site = load(tmp_path, {"CUDA_VISIBLE_DEVICES": "0,1,2,3"}, cpus_per_rank=4)
    assert site.scoring_cores() == 16
    assert load(tmp_path, {"CUDA_VISIBLE_DEVICES": ""}, cpus_per_rank=4).scoring_cores() == 1


def test_a_job_of_slurm_that_scores_gets_the_cores_that_go_with_its_gpus(tmp_path):
    given = {"gpus_per_node": 8, "cpus_per_rank": 4, "slurm": {}}
    assert load(tmp_path, **given).scoring_cores() == 4
    assert load(tmp_path, **given, rules={"evaluate": {"ranks_per_node": 2}}).scoring_cores() == 8
    assert load(tmp_path, **{**given, "gpus_per_node": 0}).scoring_cores() == 1


def test_resources_that_go_together_are_not_changed_alone():
    sites.refuse_overrides({"finetune": {"nodes": 2, "runtime": 60}, "compare": {"mem_mb": 1, "slurm_account": "a"}})
    for rule, name in (("finetune", "ranks"), ("finetune", "slurm_extra"), ("trial", "nodes"), ("evaluate", "gres")):
        with pytest.raises(ConfigurationError, match=f"the resource {name} of rule {rule}"):
            sites.refuse_overrides({rule: {"runtime": 60, name: 2}})


def test_an_unknown_site_is_refused_with_the_known_ones():
    with pytest.raises(ConfigurationError, match="unknown site") as caught:
        sites.load(ROOT, {"DNATUNE_SITE": "nowhere"})
    assert "taiwania2" in str(caught.value)


#: Every rule has a job of it: two optimizers, which the site of the original procedure places differently, and trials.
CONFIGURATION = {
    "name": "lines",
    "models": {"tiny": {"source": "tiny", "tiny": {"pretrain": {}}}},
    "data": {"source": "simulated"},
    "tasks": ["prom_core_all", "prom_core_tata"],
    "seeds": [0],
    "optimizers": {"AdamW": {"method": "adamw"}, "RK4": {"method": "rk4_single_gradient"}},
    "evaluation": {"baselines": ["majority", "frozen"]},
    "predict": {"input": "sequences.fa", "optimizer": "RK4"},
    "tuning": {"trials": 2, "fine": 3, "seed": 1, "rates": {"AdamW": [1.0e-4, 1.0e-3], "RK4": [1.0e-3, 1.0e-2]}},
}


@pytest.fixture(scope="module")
def submitted(tmp_path_factory):
    """Return a function of a site and options: the workflow's sbatch lines, {rules and optimizer: line}."""
    folder = tmp_path_factory.mktemp("lines")
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIGURATION), "utf-8")
    (folder / "sequences.fa").write_text(">a\nACGT\n", "utf-8")

    @functools.cache
    def submit(site, *options):
        script = ROOT / "tests/support/sbatch_lines.py"
        command = [sys.executable, script, "--profile", "slurm", "--no-hooks", "--directory", folder, "--nolock"]
        command += ["--configfile", folder / "config.yaml", *options, "--", "all", "benchmark", "predict"]
        environment = {**os.environ, "DNATUNE_SITE": str(site), "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        # A rule that comes to be submitted comes to be seen here.
        assert {rule for name in answer["lines"] for rule in name.split(" of ")[0].split(", ")} == {*answer["rules"]}
        return answer["lines"]

    return submit


def all_lines(submitted, name):
    """Every line that a site makes jobs of, and those that are others with two nodes of the command line."""
    lines = submitted(name)
    if name == "generic":
        # Nothing is submitted from there but to be refused, and two nodes need Slurm.
        return lines
    two = submitted(name, "--set-resources", "finetune:nodes=2")
    return lines | {f"{job}, 2 nodes asked for": line for job, line in two.items() if line != lines[job]}


@pytest.mark.parametrize("name", ["generic", "template", "taiwania2"])
def test_every_sbatch_line_is_the_one_that_was_agreed(submitted, name):
    """After an intended change: delete the snapshot, run the test, read what it wrote."""
    snapshot = Path(__file__).parent / "snapshots" / f"sbatch-{name}.json"
    found = all_lines(submitted, name)
    if not snapshot.exists():
        snapshot.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        pytest.fail(f"{snapshot} is new: read it, and run again")
    assert found == json.loads(snapshot.read_text("utf-8"))


def number(line, option):
    """The number that an sbatch line gives an option, 0 where it has none of that name."""
    found = re.search(rf"{option}[= ](\d+)", line)
    return int(found[1]) if found else 0


def test_at_taiwania_2_no_job_asks_for_more_than_its_gpus_bring(submitted):
    """A job takes at least one GPU, and at most 4 cores and 90 GB for each."""
    lines = all_lines(submitted, "taiwania2")
    assert {"finetune of AdamW", "benchmark"} <= lines.keys()
    for job, line in lines.items():
        gpus = number(line, "--gpus-per-node")
        assert gpus >= 1, job
        assert number(line, "--cpus-per-task") <= 4 * gpus and number(line, "--mem") <= 92160 * gpus, job


def test_the_benchmark_has_the_cores_of_its_gpu(submitted):
    assert number(submitted("taiwania2")["benchmark"], "--cpus-per-task") == 4
    assert number(submitted("template")["benchmark"], "--cpus-per-task") == 8
    # One machine is all its own.
    assert number(submitted("generic")["benchmark"], "--cpus-per-task") == 8


def test_tasks_that_are_put_into_one_job_ask_for_their_sum(submitted):
    """So the documentation bounds their number."""
    one, two = (
        submitted("taiwania2", "--group-components", f"prepare={count}")["evaluate_baseline_dev, prepare"]
        for count in (1, 2)
    )
    assert (number(one, "--cpus-per-task"), number(one, "--mem"), number(one, "--gpus-per-node")) == (1, 8_000, 1)
    assert (number(two, "--cpus-per-task"), number(two, "--mem"), number(two, "--gpus-per-node")) == (2, 16_000, 1)
    assert "up to 1 core and 8,000 MB per task" in (ROOT / "docs/cluster.md").read_text("utf-8")


def test_every_site_has_a_snapshot():
    names = {path.parent.name for path in (ROOT / "profiles/sites").glob("*/site.yaml")} - {"local"}
    snapshots = {path.stem.removeprefix("sbatch-") for path in (Path(__file__).parent / "snapshots").glob("*.json")}
    assert names == snapshots


@pytest.mark.parametrize(("optimizer", "nodes"), [("AdamW", 2), ("RK4", 1)])
def test_taiwania_2_asks_for_what_the_document_asks_for(submitted, optimizer, nodes):
    """salloc -A ACD113082 -t 12:00:00 -p gp1d --mem=737280 --gpus-per-node=8, 8 tasks of 4 cores a node."""
    words = submitted("taiwania2")[f"finetune of {optimizer}"].split()
    assert words[words.index("-A") + 1] == "ACD113082" and words[words.index("-p") + 1] == "gp1d"
    assert words[words.index("--mem") + 1] == "737280" and words[words.index("-t") + 1] == "720"
    assert {"--gpus-per-node=8", f"--nodes={nodes}", "--cpus-per-task=32", f"--ntasks={nodes}"} <= set(words)


def test_words_of_slurm_that_a_shell_would_read_otherwise_reach_it_whole(submitted, tmp_path):
    site = yaml.safe_load((ROOT / "profiles/sites/template/site.yaml").read_text("utf-8"))
    site["slurm"] |= {"partition": "short,long", "constraint": "v100|a100"}
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(site), "utf-8")
    lines = submitted(tmp_path / "site.yaml")
    assert {"finetune of AdamW", "benchmark"} <= lines.keys()
    for line in lines.values():
        words = shlex.split(line)
        assert words[words.index("-p") + 1] == "short,long" and words[words.index("-C") + 1] == "v100|a100"
