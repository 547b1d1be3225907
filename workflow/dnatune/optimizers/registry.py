"""The optimizers by name: look-up, check of the hyperparameters, cost, and construction.

A method is one of `METHODS`, any class of `torch.optim` (`RMSprop` or `torch.optim.RMSprop`), or a class of
the user (`package.module:Class`). Checking a configuration imports neither torch nor code of the user; only
`build` does.
"""

import ast
import difflib
import functools
import importlib
import importlib.util
import inspect
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dnatune.errors import ConfigurationError, shown
from dnatune.optimizers.specifications import LEARNING_RATE, METHODS, MethodSpecification, is_number

_OWN_CLASS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
#: Names from other libraries, and the corresponding names here.
_OTHER_NAMES = {
    "lr": "learning_rate",
    "eps": "epsilon",
    "wd": "weight_decay",
    "max_norm": "max_grad_norm",
    "gradient_clipping": "max_grad_norm",
}
#: Argument names of constructors for hyperparameters with other names here.
_CONSTRUCTOR_NAMES = {"learning_rate": "lr", "epsilon": "eps"}
#: Arguments of torch's constructors that dnatune sets itself, or that would change what is minimised.
_NOT_OFFERED = {"params", "lr", "maximize", "capturable", "differentiable"}
_UNUSABLE = {
    "LBFGS": "it needs a closure that evaluates the loss again, and DeepSpeed provides none",
    "SparseAdam": "it accepts only sparse gradients",
}
#: Their update of a matrix depends on its shape, which a flat shard does not have.
_NOT_ELEMENTWISE = {"Adafactor", "Muon"}


def specification(method: str, where: str = "optimizers") -> MethodSpecification:
    """Return the specification of a method.

    Args:
        method: a name of `METHODS`, a class of `torch.optim`, or `package.module:Class`.
        where: configuration key to name in an error.

    Raises:
        ConfigurationError: the method does not exist or cannot be used with dnatune.
    """
    if method in METHODS:
        return METHODS[method]
    if ":" in method:
        if not _OWN_CLASS.fullmatch(method):
            raise _error(f"'{method}' is not a class", where, "method", "write it as package.module:Class")
        return MethodSpecification(
            name=method,
            description=f"the class {method}",
            hyperparameters={"learning_rate": LEARNING_RATE},
            class_path=method,
            state_copies=None,
            weight_decay_style="own",
        )
    known = _torch_classes()
    plain = method.lower().removeprefix("torch.optim.")
    if plain == method.lower() and plain in METHODS:
        return METHODS[plain]
    if plain not in known:
        nearest = difflib.get_close_matches(plain, [*METHODS, *known], n=1)
        proper = [word if word in METHODS else known[word][0] for word in nearest]
        hint = f"did you mean '{proper[0]}'? " if proper else ""
        raise _error(
            f"unknown optimizer '{method}'",
            where,
            "method",
            f"{hint}use one of {', '.join(METHODS)}, a class of torch.optim, or your own class as package.module:Class",
        )
    name, _ = known[plain]
    if name in _UNUSABLE:
        raise _error(f"torch.optim.{name} cannot be used: {_UNUSABLE[name]}", where, "method", "choose another")
    return MethodSpecification(
        name=f"torch.optim.{name}",
        description=f"{name}, as in torch.optim",
        hyperparameters={"learning_rate": LEARNING_RATE},
        class_path=f"torch.optim:{name}",
        state_copies=None,
        weight_decay_style="own",
        elementwise=name not in _NOT_ELEMENTWISE,
    )


def validate(method: str, settings: Mapping[str, Any], where: str | None = None, tuned: bool = False) -> dict[str, Any]:
    """Return a method's hyperparameters, checked and completed with defaults.

    For a class that is not in `METHODS`, only what is known without importing it is checked; `build` checks
    the rest.

    Args:
        method: see `specification`.
        settings: the hyperparameters only; `max_grad_norm` is a key of `training`.
        where: configuration key of the entry.
        tuned: whether trials find the learning rate, which is then left out.

    Raises:
        ConfigurationError: a key or value is not allowed; the error names the key and what is allowed.
    """
    where = where or f"optimizers.{method}"
    spec = specification(method, where)
    outside = _is_outside(spec)
    names = _outside_names(spec) if outside else set(spec.hyperparameters)
    for key in settings:
        if names is not None and key not in names:
            raise _unknown_key(spec, key, names, where)
        if outside and (is_number(settings[key]) or (names and isinstance(settings[key], Mapping))):
            fix = "give a number, a truth value, a word or a list; YAML reads 1e-4 as text: write 1.0e-4"
            raise _error(f"'{key}' is {shown(settings[key])}", where, key, fix)
    chosen: dict[str, Any] = dict(settings) if outside else {}
    for key, parameter in spec.hyperparameters.items():
        if tuned and key == "learning_rate":
            continue
        value = settings.get(key)
        if value is None and parameter.required:
            raise _error(f"'{key}' is missing", where, key, f"give {parameter.allowed}")
        try:
            chosen[key] = parameter.default if value is None else parameter.check(value)
        except ValueError as error:
            raise _error(f"'{key}' {error}", where, key, f"give {parameter.allowed}") from None
    if chosen.get("nesterov") is True and not chosen.get("momentum"):
        raise _error("'nesterov' needs momentum", where, "nesterov", "set 'momentum', 0.9 for example")
    return chosen


def stages(method: str, hyperparameters: Mapping[str, Any]) -> int:
    """Return the gradient evaluations per step; `hyperparameters` are those that `validate` returns."""
    found = specification(method).stages
    return found(hyperparameters) if callable(found) else found


def state_copies(method: str, hyperparameters: Mapping[str, Any]) -> int | None:
    """Return how many copies of the trainable parameters the optimizer keeps; None if unknown."""
    found = specification(method).state_copies
    return found(hyperparameters) if callable(found) else found


def engine_clipping(method: str, max_grad_norm: float) -> float:
    """Return DeepSpeed's `gradient_clipping`: 0 if the optimizer clips its combined update."""
    return max_grad_norm if specification(method).clipping == "engine" else 0.0


def build(
    method: str,
    parameters: Iterable[Any],
    hyperparameters: Mapping[str, Any],
    max_grad_norm: float = 0.0,
    clip: str = "step",
) -> Any:
    """Return the optimizer, a `torch.optim.Optimizer`.

    Args:
        method: see `specification`.
        parameters: trainable parameters, in one group.
        hyperparameters: see `validate`.
        max_grad_norm: bound on the norm that is clipped, 0 for none. It is used by methods with several gradients per
            step, which clip themselves; for other methods the engine must clip, see `engine_clipping`.
        clip: what such a method clips: `step`, its combined gradient, or `stages`, each of its gradients.

    Raises:
        ConfigurationError: the class cannot be imported, is not an optimizer, or rejects its arguments.
    """
    where = f"optimizers.{method}"
    spec = specification(method)
    chosen = validate(method, hyperparameters, where)
    optimizer_class = _import_class(spec, where)
    arguments = _arguments(spec, optimizer_class, chosen, where)
    if spec.clipping == "update":
        arguments["max_norm"] = max_grad_norm
    try:
        optimizer = optimizer_class(parameters, **arguments)
    except (TypeError, ValueError) as error:
        raise _error(f"{spec.name} rejects its hyperparameters: {error}", where, None, "correct them") from error
    if getattr(optimizer, "stages", 1) != stages(method, chosen):
        raise _error(
            f"{spec.name} takes {optimizer.stages} gradients per step, but a class outside dnatune is counted with one",
            where,
            "method",
            "use a class with one gradient per step, because budgets and comparisons count gradients",
        )
    if spec.clipping == "update":
        optimizer.clips_stages = clip == "stages"
    return optimizer


def _is_outside(spec: MethodSpecification) -> bool:
    return spec.name not in METHODS


def _arguments(spec: MethodSpecification, optimizer_class: type, chosen: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the constructor's arguments."""
    if not _is_outside(spec):
        return {
            **spec.arguments,
            **{_CONSTRUCTOR_NAMES.get(key, key): value for key, value in chosen.items()},
        }
    accepted = inspect.signature(optimizer_class).parameters
    arguments = {}
    for key, value in chosen.items():
        name = "lr" if key == "learning_rate" else key
        if name not in accepted and not any(p.kind is p.VAR_KEYWORD for p in accepted.values()):
            raise _unknown_key(spec, key, _offered(accepted), where)
        arguments[name] = tuple(value) if isinstance(value, list) else value
    return arguments


def _import_class(spec: MethodSpecification, where: str) -> type:
    import torch

    module, name = spec.class_path.split(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise _error(
            f"{spec.class_path} cannot be imported: {error}",
            where,
            "method",
            "put its package on PYTHONPATH and check the spelling",
        ) from error
    if not (isinstance(found, type) and issubclass(found, torch.optim.Optimizer)):
        raise _error(f"{spec.class_path} is not a torch.optim.Optimizer", where, "method", "name a subclass of it")
    return found


def _offered(names: Iterable[str]) -> set[str]:
    return {"learning_rate", *names} - _NOT_OFFERED


def _outside_names(spec: MethodSpecification) -> set[str] | None:
    """Return the hyperparameters of a class of torch.optim; None for a user's class, whose source is not read."""
    module, name = spec.class_path.split(":")
    if module != "torch.optim":
        return None
    source = ast.parse(_torch_classes()[name.lower()][1].read_text("utf-8"))
    for node in ast.walk(source):
        if isinstance(node, ast.ClassDef) and node.name == name:
            constructor = next(f for f in node.body if isinstance(f, ast.FunctionDef) and f.name == "__init__")
            arguments = constructor.args
            return _offered(a.arg for a in (*arguments.args, *arguments.kwonlyargs) if a.arg != "self")
    return None


@functools.cache
def _torch_classes() -> dict[str, tuple[str, Path]]:
    """Return {lower-case name: (name, source file)} of torch.optim from its source, without the slow import."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return {}
    folder = Path(found.origin).parent / "optim"
    classes = {}
    for node in ast.parse((folder / "__init__.py").read_text("utf-8")).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("torch.optim."):
            file = folder / f"{node.module.removeprefix('torch.optim.')}.py"
            for alias in node.names:
                if alias.name[0].isupper() and alias.name != "Optimizer":
                    classes[alias.name.lower()] = (alias.name, file)
    return classes


def _unknown_key(spec: MethodSpecification, key: str, names: Iterable[str], where: str) -> ConfigurationError:
    options = sorted(names)
    meant = _OTHER_NAMES.get(key)
    if meant == "max_grad_norm":
        hint = "did you mean 'max_grad_norm', a key of 'training'? "
    else:
        nearest = [meant] if meant in options else difflib.get_close_matches(key, options, n=1)
        hint = f"did you mean '{nearest[0]}'? " if nearest else ""
    return _error(f"'{spec.name}' has no hyperparameter '{key}'", where, key, f"{hint}it has {', '.join(options)}")


def _error(what: str, where: str, key: str | None, fix: str) -> ConfigurationError:
    return ConfigurationError(what, where=f"config key '{where}{'.' + key if key else ''}'", fix=fix)
