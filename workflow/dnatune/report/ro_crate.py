"""The results as a Process Run Crate: files with their hashes, software, and every run as an action.

Profiles: RO-Crate 1.1 (https://w3id.org/ro/crate/1.1) and Process Run Crate 0.5 (https://w3id.org/ro/wfrun), after Leo
et al. 2024, PLOS ONE, 10.1371/journal.pone.0309210. A Workflow Run Crate would have to hold the workflow's files, which
are not among the results: the git commits of the runs name them.
"""

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
from dnatune.data.manifests import Origin
from dnatune.errors import ConfigurationError
from dnatune.files import sha256_of_file
from dnatune.report.evidence import Evidence

_PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
#: What the profile's own terms mean, sha256 and resourceUsage among them, which RO-Crate 1.1 does not have.
_TERMS = "https://w3id.org/ro/terms/workflow-run/context"
_FORMATS = {
    ".tsv": "text/tab-separated-values",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".html": "text/html",
    ".svg": "image/svg+xml",
    ".yaml": "application/yaml",
}


def crate_text(root: Path, evidence: Evidence, texts: Mapping[Path, str], data: Sequence[Path]) -> str:
    """Return ro-crate-metadata.json.

    Args:
        root: folder of the crate; every file lies below it.
        evidence: what the comparison was made from.
        texts: the files made now, with their content, in their order; the configuration is among them.
        data: the files that were compared on, test splits and audits.

    Raises:
        ConfigurationError: a file does not lie below the folder.
    """
    name, runs = evidence.settings.name, [run for group in evidence.groups for run in group.runs]
    crate = _crate_of(name)
    made = {path: _file(crate, root, path, text.encode()) for path, text in texts.items()}
    used = [_file(crate, root, path) for path in data]
    models = {name: _origin(crate, root, "model", name, origin) for name, origin in evidence.origins.models.items()}
    tasks = {name: _origin(crate, root, "data", name, origin) for name, origin in evidence.origins.data.items()}
    program = _program(crate, evidence.packages, runs)
    actions, results = [], []
    for run in runs:
        files = [_file(crate, root, path) for path in run.files]
        results += files
        actions.append(_action(crate, run, [models[run.model], tasks[run.task], *used], files, program))
    whole = {
        "@type": "CreateAction",
        "name": f"The workflow's run {name}",
        "description": "From the configuration, the base models and the data to the report and the tables",
        "instrument": program,
        "object": [entity for path, entity in made.items() if path.suffix == ".yaml"]
        + [*models.values(), *tasks.values(), *used],
        "result": [entity for path, entity in made.items() if path.suffix != ".yaml"] + results,
        "actionStatus": "http://schema.org/CompletedActionStatus",
        "endTime": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    action = crate.add(ContextEntity(crate, "#workflow-run", _linked(whole)))
    crate.root_dataset["mentions"] = [action, *actions]
    return json.dumps(crate.metadata.generate(), indent=1, ensure_ascii=False) + "\n"


def _crate_of(name: str) -> ROCrate:
    """Return an empty crate of these profiles."""
    crate = ROCrate(version="1.1")
    crate.metadata.extra_contexts.append(_TERMS)
    crate.name, crate.description = name, f"A comparison of optimizers for DNA language models by dnatune: {name}"
    crate.license = "Not stated here: those of the data and of the base model hold"
    profile = {"@type": "CreativeWork", "name": "Process Run Crate", "version": _PROFILE.rsplit("/")[-1]}
    crate.root_dataset["conformsTo"] = crate.add(ContextEntity(crate, _PROFILE, profile))
    return crate


def _program(crate: ROCrate, packages: Mapping[str, str], runs: Sequence[FinishedRun]) -> Any:
    """Add dnatune, its version the commits of the runs, with every package of the environment."""
    entities = []
    for package, version in packages.items():
        page = f"https://pypi.org/project/{package}/"
        known = {"@type": "SoftwareApplication", "name": package, "version": version, "url": page}
        entities.append(crate.add(ContextEntity(crate, page, known)))
    properties = {
        "@type": "SoftwareApplication",
        "name": "dnatune",
        "version": ", ".join(sorted({str(run.record.software.git_commit) for run in runs})),
        "softwareRequirements": entities,
    }
    return crate.add(ContextEntity(crate, "#dnatune", _linked(properties)))


def _origin(crate: ROCrate, root: Path, kind: str, name: str, origin: Origin) -> Any:
    """Add a base model or a task's data, with its revision; its manifest, which has every file's hash, describes it."""
    manifest = origin.manifest
    properties = {
        "@type": "CreativeWork",
        "name": f"Base model {name}" if kind == "model" else f"Data of task {name}",
        "identifier": manifest.origin if manifest.revision is None else f"{manifest.origin}@{manifest.revision}",
        "description": f"Source: {manifest.source}; digest of its files: {manifest.digest}",
        "subjectOf": _file(crate, root, origin.path),
    }
    if manifest.revision is not None:
        properties["version"] = manifest.revision
        properties["description"] += f"; revision asked for: {manifest.requested}"
    return crate.add(ContextEntity(crate, f"#{kind}/{name}", _linked(properties)))


def _action(crate: ROCrate, run: FinishedRun, used: Sequence[Any], files: Sequence[Any], program: Any) -> Any:
    """Add a run as an action; a diverged one is an action that failed, with its reason."""
    place = run.record.place
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
        "description": "Named by base model, task, optimizer and seed",
        "instrument": program,
        "object": list(used),
        "result": list(files),
        "resourceUsage": usage,
        "endTime": _written(max(path.stat().st_mtime for path in run.files)),
        "actionStatus": f"http://schema.org/{'Failed' if run.diverged else 'Completed'}ActionStatus",
    }
    if end := run.record.diverged:
        properties["error"] = f"diverged at step {end.step}: {end.reason}"
    return crate.add(ContextEntity(crate, f"#run/{place}", _linked(properties)))


def _usage(run: FinishedRun) -> dict[str, Any]:
    record = run.record
    keys = ("gradient_evaluations", "wall_seconds", "gpu_seconds", "ranks", "precision", "device")
    digests = {f"sha256_{name}": value for name, value in record.inputs}
    return {key: getattr(record, key) for key in keys} | digests | {"code": record.software.code}


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
