"""What a job asks for at a site: resources of Snakemake and of its Slurm plugin."""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dnatune.errors import ConfigurationError
from dnatune.files import VERIFY
from dnatune.provenance import usable_cores, visible_gpus
from dnatune.settings.site_file import Override, SiteFile, Slurm, find, read_site

#: Rules whose jobs compute on a GPU where there is one; finetune on all that its ranks need, the others on one.
_ON_GPU = ("pretrain", "finetune", "evaluate", "predict", "benchmark")
#: Rules of which two follow each other in one job where every job must take a GPU (`group` in the rule files).
_SHARING = ("prepare", "evaluate_baseline")
#: Rules that `rules` may speak of, with those of which it may say how many ranks they have.
_RULES = ("pretrain", "prepare", "finetune", "evaluate", "evaluate_baseline", "compare", "predict", "benchmark")
#: Those of them whose ranks share what is to be scored.
_SCORING = ("evaluate", "predict")
_WITH_RANKS = ("finetune", *_SCORING)
#: Resources that belong together: one alone, changed on the command line, would contradict the others.
_BOUND = ("nodes", "tasks", "mpi", "ranks", "gres", "tasks_per_gpu", "slurm_extra")
#: Every key that `Site.resources` may return.
RESOURCES = (*_BOUND, "mem_mb", "runtime", "slurm_account", "slurm_partition", "qos", "constraint")
_NOTHING = Override()
#: Seconds that a finetune job has before its signal, at the least. It starts, loads a model and takes steps, and Slurm
#: may send the signal a minute early (sbatch(1), --signal).
BEFORE_SIGNAL = 300


@dataclasses.dataclass(frozen=True)
class Site:
    """This site's settings, every `auto` resolved.

    Attributes:
        nodes: nodes of a finetune run.
        ranks: its processes on each node.
        gpus: GPUs of a node; 0 on a machine without.
        cpus_per_rank: cores of a rank.
        mem_mb: memory of a job with a model in it, MB a node.
        runtime: longest a job may take.
        verify: whether large files too are read whole before they are used.
        examples_per_second: training speed of one rank by base model, as far as it is stated.
        container: image in which jobs run with `--sdm apptainer`; None if the site names none.
        slurm: what jobs ask Slurm for; None where there is no Slurm.
        rules, optimizers: overrides by rule and by optimizer.
        path: the site file.
    """

    nodes: int
    ranks: int
    gpus: int
    cpus_per_rank: int
    mem_mb: int
    runtime: str
    verify: bool
    examples_per_second: Mapping[str, float]
    container: str | None
    slurm: Slurm | None
    rules: Mapping[str, Override]
    optimizers: Mapping[str, Override]
    path: Path

    def require_slurm(self) -> None:
        """Check that jobs can be submitted: a site that says nothing of Slurm would train on CPUs without a word.

        Raises:
            ConfigurationError: the site has no key `slurm`.
        """
        if self.slurm is None:
            raise ConfigurationError(
                "jobs are to go to Slurm, and this site says nothing of it",
                where=str(self.path),
                fix="run `make doctor` on the log-in node, which writes a site file, or set DNATUNE_SITE to a site",
            )

    def layout(self, optimizer: str | None, nodes: int | None = None) -> tuple[int, int]:
        """Return nodes and ranks a node of a finetune run.

        Args:
            optimizer: the run's, by name.
            nodes: what the command line's `--set-resources finetune:nodes=…` asks for, if it does.

        Raises:
            ConfigurationError: fewer than one node; more ranks than GPUs; several nodes without Slurm.
        """
        own = self._override("finetune", optimizer)
        chosen = (own.nodes or self.nodes) if nodes is None else nodes
        ranks = own.ranks_per_node or self.ranks
        if not isinstance(chosen, int) or chosen < 1:
            raise ConfigurationError(
                f"{chosen} nodes", where="--set-resources finetune:nodes", fix="give a whole number of 1 or more"
            )
        if self.gpus and ranks > self.gpus:
            raise ConfigurationError(
                f"{ranks} ranks a node, and a node has {self.gpus} GPUs",
                where=str(self.path),
                fix="lower ranks_per_node, or correct gpus_per_node",
            )
        if chosen > 1 and self.slurm is None:
            raise ConfigurationError(
                f"{chosen} nodes need Slurm, and this site has none",
                where=str(self.path),
                fix="add the key 'slurm', or choose another site with DNATUNE_SITE",
            )
        return chosen, ranks

    def requested_nodes(self, overrides: Mapping[str, Mapping[str, Any]], optimizers: Iterable[str]) -> int | None:
        """Return the nodes of a finetune run that the command line asks for, None if it does not.

        Args:
            overrides: what `--set-resources` gives, by rule and resource, as Snakemake parses it.
            optimizers: names of the optimizers, whose layouts are checked.

        Raises:
            ConfigurationError: see `layout`.
        """
        nodes = overrides.get("finetune", {}).get("nodes")
        if nodes is not None:
            # An expression that Snakemake would evaluate job by job is no number of nodes.
            nodes = nodes.raw if nodes.is_evaluable() else nodes.value
        for optimizer in optimizers:
            self.layout(optimizer, nodes)
        return nodes

    def scoring_ranks(self, rule: str) -> int:
        """Return the ranks, each with a GPU where there are any, that share what a rule scores."""
        return self._override(rule).ranks_per_node or 1

    def scoring_cores(self, rule: str = "evaluate") -> int:
        """Return the cores of a job that merges and scores: those that go with its GPUs, one per rank without any.

        On one machine with GPUs it gets all, so that no two jobs meet on its first GPU.
        """
        if not self.gpus:
            return self.scoring_ranks(rule)
        return (self.ranks if self.slurm is None else self.scoring_ranks(rule)) * self.cpus_per_rank

    @property
    def benchmark_cores(self) -> int:
        """Return the cores of the job that times one rank: on a cluster its GPU's share of a node, else all."""
        if self.slurm is None:
            return usable_cores()
        return self.cpus_per_rank if self.gpus else self.ranks * self.cpus_per_rank

    @property
    def _shares_jobs(self) -> bool:
        return self.slurm is not None and self.slurm.every_job_needs_gpu

    def _override(self, rule: str, optimizer: str | None = None) -> Override:
        """Return what a rule's jobs ask for instead, those of an optimizer's runs before others."""
        of_rule = self.rules.get(rule, _NOTHING)
        return self.optimizers.get(optimizer or "", _NOTHING).over(of_rule) if rule == "finetune" else of_rule

    def resources(
        self, rule: str, optimizer: str | None, nodes: int | None, mem_mb: int, runtime: str
    ) -> dict[str, int | str]:
        """Return what a job asks for: resources of Snakemake and of its Slurm plugin, the latter at sites with Slurm.

        Args:
            rule: name of the rule.
            optimizer: of a finetune job.
            nodes: see `layout`.
            mem_mb: memory the rule itself asks for.
            runtime: time the rule itself asks for.
        """
        own = self._override(rule, optimizer)
        # No job asks for more time than the longest: above a partition's limit it would wait for ever.
        longest = own.runtime or min(runtime, self.runtime, key=_minutes)
        if self._shares_jobs and rule in _SHARING and not own.runtime:
            longest = min(longest, f"{_minutes(self.runtime) // 2}m", key=_minutes)
        asked: dict[str, int | str] = {"mem_mb": own.mem_mb or mem_mb, "runtime": longest}
        count, ranks = self.layout(optimizer, nodes) if rule == "finetune" else (1, 1)
        if rule == "finetune":
            asked |= {"nodes": count, "ranks": ranks}
        if rule in _SCORING:
            ranks = self.scoring_ranks(rule)
            asked["ranks"] = ranks
        if self.slurm is None:
            return asked
        if count > 1:
            # One task a node: the launcher, which starts the node's ranks.
            asked |= {"tasks": count, "mpi": "srun"}
        gpus = ranks if rule in _ON_GPU else int(self._shares_jobs)
        asked |= _gpu_request(self.slurm, gpus if self.gpus else 0)
        if rule == "finetune":
            signal = f"--signal=USR1@{self.slurm.signal_seconds}"
            asked["slurm_extra"] = f"{asked['slurm_extra']} {signal}" if "slurm_extra" in asked else signal
        names = {"account": "slurm_account", "partition": "slurm_partition", "qos": "qos", "constraint": "constraint"}
        words = {**self.slurm.plain(), **({"partition": own.partition} if own.partition else {})}
        return asked | {names[key]: words[key] for key in names if key in words}

    def exports(self, in_slurm_job: bool, offline: bool) -> dict[str, str]:
        """Return the environment variables of a job.

        Args:
            in_slurm_job: whether it is one of Slurm's, for which the site says more.
            offline: whether the hub is not to be asked, as on compute nodes.
        """
        found = {VERIFY: "1"} if self.verify else {}
        if self.slurm is None or not in_slurm_job:
            return found
        found |= {"HF_HUB_OFFLINE": "1"} if offline else {}
        if self.slurm.network_interface:
            found |= dict.fromkeys(("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"), self.slurm.network_interface)
        if self.slurm.scratch:
            found["TMPDIR"] = self.slurm.scratch
        return found


def _minutes(runtime: str) -> int:
    return int(runtime[:-1]) * {"m": 1, "h": 60, "d": 1440}[runtime[-1]]


def _gpu_request(slurm: Slurm, count: int) -> dict[str, int | str]:
    """Return how a number of GPUs a node is asked for."""
    if not count or slurm.gpu_request == "none":
        return {}
    amount = f"{slurm.gpu_type}:{count}" if slurm.gpu_type else str(count)
    # The plugin takes no other characters in a type of its own request.
    if slurm.gpu_request == "gpus_per_node" or not re.fullmatch(r"[\w.]*", slurm.gpu_type or ""):
        return {"slurm_extra": f"--gpus-per-node={amount}"}
    # 0 keeps the plugin from adding --ntasks-per-gpu.
    return {"gres": f"gpu:{amount}", "tasks_per_gpu": 0}


def load(root: Path, environment: Mapping[str, str]) -> Site:
    """Return the site: `DNATUNE_SITE` (name or path), else profiles/sites/local, else the generic one.

    Args:
        root: the checkout.
        environment: environment variables.

    Raises:
        ConfigurationError: no such site, a key that is wrong, keys that contradict each other, or a
            scratch folder that is not there.
    """
    path = find(root / "profiles" / "sites", environment.get("DNATUNE_SITE"))
    settings = read_site(path)
    _check_rules(settings.rules, path)
    slurm = settings.slurm
    if slurm and slurm.scratch and not Path(slurm.scratch).is_dir():
        raise ConfigurationError(
            f"the folder {slurm.scratch} does not exist", where=f"{path}: key 'slurm.scratch'", fix="correct it"
        )
    for key in ("gpus_per_node", "cpus_per_rank"):
        if slurm is not None and getattr(settings, key) == "auto":
            raise ConfigurationError(
                "auto is what this machine has, and jobs run on others",
                where=f"{path}: key '{key}'",
                fix="give the number of a compute node; `make doctor` finds it",
            )
    site = _resolved(settings, path, environment)
    for optimizer in (None, *site.optimizers):
        site.layout(optimizer)
    for rule in _SCORING:
        if site.gpus and site.scoring_ranks(rule) > site.gpus:
            raise ConfigurationError(
                f"{site.scoring_ranks(rule)} ranks score one input, and a node has {site.gpus} GPUs",
                where=f"{path}: key 'rules.{rule}.ranks_per_node'",
                fix="lower it, or correct gpus_per_node",
            )
    _check_jobs(site)
    return site


def _resolved(settings: SiteFile, path: Path, environment: Mapping[str, str]) -> Site:
    """Return the site with what this machine has in place of `auto`."""
    gpus = settings.gpus_per_node if settings.gpus_per_node != "auto" else visible_gpus(environment)
    # Without a GPU, runs are tiny: one core each, and as many at once as there are cores.
    ranks = settings.ranks_per_node if settings.ranks_per_node != "auto" else gpus or 1
    cores = max(1, usable_cores() // ranks) if gpus else 1
    kept = ("nodes", "mem_mb", "runtime", "verify", "examples_per_second", "container", "slurm", "rules", "optimizers")
    return Site(
        ranks=ranks,
        gpus=gpus,
        cpus_per_rank=settings.cpus_per_rank if settings.cpus_per_rank != "auto" else cores,
        path=path,
        **{key: getattr(settings, key) for key in kept},
    )


def _check_jobs(site: Site) -> None:
    """Refuse what Slurm would take and no job could live with."""
    if site.slurm is None:
        return
    if site.slurm.every_job_needs_gpu:
        without = {"gpus_per_node": not site.gpus, "slurm.gpu_request": site.slurm.gpu_request == "none"}
        for key, none in without.items():
            if none:
                raise ConfigurationError(
                    "every job needs a GPU, and by this none asks for one",
                    where=f"{site.path}: key '{key}'",
                    fix="correct it, or remove slurm.every_job_needs_gpu",
                )
        if _minutes(site.runtime) < 2:
            where = f"{site.path}: key 'runtime'"
            raise ConfigurationError(f"{site.runtime} is too short for two stages", where=where, fix="give 2m or more")
    least = math.ceil((site.slurm.signal_seconds + BEFORE_SIGNAL) / 60)
    for optimizer in (None, *site.optimizers):
        runtime = str(site.resources("finetune", optimizer, None, site.mem_mb, site.runtime)["runtime"])
        if _minutes(runtime) < least:
            raise ConfigurationError(
                f"a finetune job of {runtime} would be told to end {site.slurm.signal_seconds} s before that, "
                "which leaves it less than five minutes",
                where=f"{site.path}: keys 'runtime' and 'slurm.signal_seconds'",
                fix=f"give it {least}m or more, in a partition that allows that, or lower slurm.signal_seconds",
            )


def _check_rules(rules: Mapping[str, Override], path: Path) -> None:
    """Refuse what would be said in vain: of a rule that does not exist, or that has neither nodes nor ranks."""
    for rule, own in rules.items():
        if rule not in _RULES:
            raise ConfigurationError(
                f"unknown rule '{rule}'", where=f"{path}: key 'rules'", fix=f"name one of: {', '.join(_RULES)}"
            )
        vain = [key for key, knows in (("nodes", ("finetune",)), ("ranks_per_node", _WITH_RANKS)) if rule not in knows]
        for key in set(vain) & own.plain().keys():
            raise ConfigurationError(
                f"rule {rule} has no {key}", where=f"{path}: key 'rules.{rule}.{key}'", fix="remove it"
            )


def refuse_overrides(overrides: Mapping[str, Iterable[str]]) -> None:
    """Refuse resources of the command line that would contradict what else a job asks for.

    Args:
        overrides: names of resources by rule, as `--set-resources` gives them.

    Raises:
        ConfigurationError: one of them follows from the site file.
    """
    for rule, names in overrides.items():
        for name in names:
            if name in _BOUND and (rule, name) != ("finetune", "nodes"):
                raise ConfigurationError(
                    f"the resource {name} of rule {rule} follows from the site file, with others that must fit it",
                    where=f"--set-resources {rule}:{name}",
                    fix="set nodes, ranks_per_node or the key slurm in a site file (profiles/sites/template); "
                    "`--set-resources finetune:nodes=N` alone changes all that goes with it",
                )
