"""Whether a run may go on from a saved state, and what differs if it may not."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dnatune.errors import ConfigurationError
from dnatune.training.record import Conditions

#: What computes, beside the configuration. Python itself and Snakemake do not touch a number.
_COMPUTES = ("code", "torch", "transformers", "peft", "deepspeed", "tokenizers")


def accepted_changes(saved: Conditions, now: Conditions, accept: bool, place: Path) -> list[str]:
    """Return what computes otherwise now than when a state was saved; nothing if the run is to go on as it began.

    Args:
        saved: under which the state was saved.
        now: under which the run is to go on; of the same configuration.
        accept: whether other code may go on with the run.
        place: folder of the state, for the message.

    Raises:
        ConfigurationError: the state does not fit, or other code has saved it and that is not accepted.
    """
    layout = _changes(_layout(saved), _layout(now))
    code = _changes(_code(saved), _code(now))
    if layout or (code and not accept):
        ways = ["start it as it was begun", f"delete {place} to train from step 0"]
        if not layout:
            ways.insert(1, "continue with training.accept_code_change: true (by hand --accept-code-change)")
        raise ConfigurationError(
            f"the saved run was begun otherwise: {'; '.join(layout + code)}", where=str(place), fix=" or ".join(ways)
        )
    return code


def changed_configuration(saved: Conditions, now: Conditions) -> list[str]:
    """Return which settings and inputs of two runs differ, as `key: before → after`."""
    before, after = (
        _flat({**one.settings, "base model": one.inputs.model, "training split": one.inputs.train})
        for one in (saved, now)
    )
    return _changes(before, after)


def _layout(conditions: Conditions) -> dict[str, Any]:
    """Return what decides into which parts a state is cut, and of which numbers."""
    return {"ranks": conditions.ranks, "precision": conditions.precision}


def _code(conditions: Conditions) -> dict[str, Any]:
    software = conditions.software.model_dump()
    return {name: software[name] for name in _COMPUTES}


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    keys = [*before, *(key for key in after if key not in before)]
    return [f"{key}: {before.get(key)} → {after.get(key)}" for key in keys if before.get(key) != after.get(key)]


def _flat(value: Any, place: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {place: value}
    return {
        key: leaf
        for name, item in value.items()
        for key, leaf in _flat(item, f"{place}.{name}" if place else str(name)).items()
    }
