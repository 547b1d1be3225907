"""The results as a Workflow Run RO-Crate: files with their hashes, software, and every run as an action.

Profiles: RO-Crate 1.1 (https://w3id.org/ro/crate/1.1), Process Run Crate and Workflow Run Crate 0.5
(https://w3id.org/ro/wfrun), after Leo et al. 2024, PLOS ONE, 10.1371/journal.pone.0309210.
"""

import dataclasses
import datetime
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rocrate.model import ContextEntity
from rocrate.rocrate import ROCrate

from dnatune.comparison.results import FinishedRun
from dnatune.data.manifests import Origin, Origins
from dnatune.errors import ConfigurationError
from dnatune.files import sha256_of_file

_PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
_FORMATS = {
    ".tsv": "text/tab-separated-values",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".html": "text/html",
    ".svg": "image/svg+xml",
    ".yaml": "application/yaml",
}


@dataclasses.dataclass(frozen=True)
class Finished:
    """A run, and the files that it left.

    Attributes:
        run: as read.
        files: run.json, training.jsonl, metrics.json and predictions.tsv.
    """

    run: FinishedRun
    files: Sequence[Path]


def crate_text(
    root: Path,
    name: str,
    workflow: Path,
    texts: Mapping[Path, str],
    data: Sequence[Path],
    runs: Sequence[Finished],
    packages: Mapping[str, str],
    origins: Origins,
) -> str:
    """Return ro-crate-metadata.json.

    Args:
        root: folder of the crate; every file lies below it.
        name: of the results.
        workflow: the workflow's file, a copy of the original below `root`, among `texts`.
        texts: the files made now, with their content, in their order; the configuration is among them.
        data: the files that were compared on, test splits and audits.
        runs: every run.
        packages: version of each package, by name.
        origins: where the base models and the tasks' data came from.

    Raises:
        ConfigurationError: a file does not lie below the folder.
    """
    crate = ROCrate(version="1.1")
    crate.name, crate.description = name, f"A comparison of optimizers for DNA language models by dnatune: {name}"
    crate.license = "Not stated here: those of the data and of the base model hold"
    crate.root_dataset["conformsTo"] = [
        crate.add(ContextEntity(crate, uri, {"@type": "CreativeWork", "name": title, "version": uri.rsplit("/")[-1]}))
        for uri, title in _PROFILES.items()
    ]
    made = {path: _file(crate, root, path, text.encode()) for path, text in texts.items()}
    used = [_file(crate, root, path) for path in data]
    models = {name: _origin(crate, root, "model", name, origin) for name, origin in origins.models.items()}
    tasks = {name: _origin(crate, root, "data", name, origin) for name, origin in origins.data.items()}
    software = [
        crate.add(
            ContextEntity(
                crate, f"#package-{package}", {"@type": "SoftwareApplication", "name": package, "version": version}
            )
        )
        for package, version in packages.items()
    ]
    main = crate.add_workflow(
        dest_path=_below(root, workflow), main=True, lang="snakemake", properties={"name": "dnatune"}
    )
    commits = sorted({str(one.run.record["software"].get("git_commit")) for one in runs})
    main["version"], main["sha256"] = ", ".join(commits), hashlib.sha256(texts[workflow].encode()).hexdigest()
    main["softwareRequirements"] = software
    actions, results = [], []
    for one in runs:
        files = [_file(crate, root, path) for path in one.files]
        results += files
        inputs = [models[one.run.model], tasks[one.run.task], *used]
        actions.append(_action(crate, one, inputs, files, main))
    whole = {
        "@type": "CreateAction",
        "name": f"The workflow's run {name}",
        "instrument": main,
        "object": [entity for path, entity in made.items() if path.suffix == ".yaml"]
        + [*models.values(), *tasks.values(), *used],
        "result": [entity for path, entity in made.items() if path.suffix != ".yaml" and path != workflow] + results,
        "actionStatus": "http://schema.org/CompletedActionStatus",
        "endTime": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    action = crate.add(ContextEntity(crate, "#workflow-run", _linked(whole)))
    crate.root_dataset["mentions"] = [action, *actions]
    return json.dumps(crate.metadata.generate(), indent=1, ensure_ascii=False) + "\n"


def _origin(crate: ROCrate, root: Path, kind: str, name: str, origin: Origin) -> Any:
    """Add a base model or a task's data, with its revision; its manifest, which has every file's hash, describes it."""
    properties = {
        "@type": "CreativeWork",
        "name": f"Base model {name}" if kind == "model" else f"Data of task {name}",
        "identifier": origin.place if origin.commit is None else f"{origin.place}@{origin.commit}",
        "description": f"Source: {origin.source}; digest of its files: {origin.digest}",
        "subjectOf": _file(crate, root, origin.manifest),
    }
    if origin.commit is not None:
        properties["version"] = origin.commit
        properties["description"] += f"; revision asked for: {origin.requested}"
    return crate.add(ContextEntity(crate, f"#{kind}/{name}", _linked(properties)))


def _action(crate: ROCrate, one: Finished, used: Sequence[Any], files: Sequence[Any], main: Any) -> Any:
    """Add a run as an action; a diverged one is an action that failed, with its reason."""
    run, record = one.run, one.run.record
    place = f"{run.model}/{run.task}/{run.optimizer}/seed{run.seed}"
    usage = [
        crate.add(
            ContextEntity(
                crate,
                f"#{place}/{key}",
                {"@type": "PropertyValue", "propertyID": key, "name": key.replace("_", " "), "value": str(value)},
            )
        )
        for key, value in _usage(run).items()
    ]
    properties = {
        "@type": "CreateAction",
        "name": f"Fine-tuning and evaluation of {place}",
        "instrument": main,
        "object": list(used),
        "result": list(files),
        "resourceUsage": usage,
        "endTime": _written(max(path.stat().st_mtime for path in one.files)),
        "actionStatus": f"http://schema.org/{'Failed' if run.diverged else 'Completed'}ActionStatus",
    }
    if run.diverged:
        properties["error"] = f"diverged at step {record['diverged']['step']}: {record['diverged']['reason']}"
    return crate.add(ContextEntity(crate, f"#run/{place}", _linked(properties)))


def _usage(run: FinishedRun) -> dict[str, Any]:
    record = run.record
    keys = ("gradient_evaluations", "wall_seconds", "gpu_seconds", "ranks", "precision", "device")
    digests = {f"sha256_{name}": value for name, value in record["inputs"].items()}
    return {key: record[key] for key in keys} | digests | {"code": record["software"]["code"]}


def _linked(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return properties with entities as references, which the constructor of an entity does not make of them."""

    def link(value: Any) -> Any:
        if isinstance(value, list):
            return [link(item) for item in value]
        return {"@id": value.id} if hasattr(value, "id") else value

    return {key: link(value) for key, value in properties.items()}


def _file(crate: ROCrate, root: Path, path: Path, content: bytes | None = None) -> Any:
    """Add a file with its hash and size; its content, or None where it is read."""
    properties = {
        "name": path.name,
        "encodingFormat": _FORMATS.get(path.suffix, "text/plain"),
        "sha256": sha256_of_file(path) if content is None else hashlib.sha256(content).hexdigest(),
        "contentSize": str(path.stat().st_size if content is None else len(content)),
    }
    return crate.add_file(dest_path=_below(root, path), properties=properties)


def _below(root: Path, path: Path) -> str:
    place = os.path.relpath(path, root)
    if place.startswith(".."):
        raise ConfigurationError(
            f"{path} does not lie below {root}",
            where="command line, --crate",
            fix="write the crate into the folder that holds all the results",
        )
    return place


def _written(time: float) -> str:
    return datetime.datetime.fromtimestamp(time, datetime.UTC).isoformat(timespec="seconds")
