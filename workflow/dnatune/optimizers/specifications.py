"""The cost and the hyperparameters of each optimizer. Nothing here needs torch."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from dnatune.errors import shown
from dnatune.optimizers.chebyshev import chebyshev
from dnatune.optimizers.tableaux import HEUN, RK4, RK4_38, Tableau

_REQUIRED = object()


@dataclasses.dataclass(frozen=True)
class Hyperparameter:
    """A hyperparameter of a method.

    Attributes:
        kind: float, int or bool; `betas` for two floats.
        description: its meaning, in one line.
        default: value if none is given.
        minimum, maximum: bounds, inclusive unless `open_below` or `open_above`; None for no bound.
        choices: the allowed values, if they are not an interval.
    """

    kind: type | str
    description: str
    default: Any = _REQUIRED
    minimum: float | None = None
    maximum: float | None = None
    open_below: bool = False
    open_above: bool = False
    choices: tuple[Any, ...] | None = None

    @property
    def required(self) -> bool:
        """Return whether there is no default."""
        return self.default is _REQUIRED

    @property
    def allowed(self) -> str:
        """Return the allowed values in words."""
        if self.choices:
            return f"one of {', '.join(map(str, self.choices))}"
        noun = {float: "a number", int: "a whole number", bool: "true or false", "betas": "two numbers"}[self.kind]
        bounds = []
        if self.minimum is not None:
            bounds.append(f"{'>' if self.open_below else '≥'} {self.minimum:g}")
        if self.maximum is not None:
            bounds.append(f"{'<' if self.open_above else '≤'} {self.maximum:g}")
        return " ".join([noun, " and ".join(bounds)]).strip()

    def check(self, value: Any) -> Any:
        """Return `value` converted to the hyperparameter's type.

        Raises:
            ValueError: the value is not allowed; the message says what is allowed.
        """
        if self.kind == "betas":
            if not isinstance(value, list | tuple) or len(value) != 2:
                raise ValueError(f"is {shown(value)}, not {self.allowed}")
            return tuple(self._number(entry) for entry in value)
        if self.kind is bool:
            if not isinstance(value, bool):
                raise ValueError(f"is {shown(value)}, not {self.allowed}")
            return value
        return self._number(value)

    def _number(self, value: Any) -> float:
        if is_number(value):
            raise ValueError(f"is the text {value!r}, not a number: YAML reads 1e-4 as text; write 1.0e-4")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"is {shown(value)}, not {self.allowed}")
        if self.kind is int and not isinstance(value, int):
            raise ValueError(f"is {shown(value)}, not {self.allowed}")
        low, high = self.minimum, self.maximum
        below = low is not None and (value <= low if self.open_below else value < low)
        above = high is not None and (value >= high if self.open_above else value > high)
        if below or above or (self.choices and value not in self.choices):
            raise ValueError(f"is {shown(value)}, not {self.allowed}")
        return value if self.kind is int else float(value)


Hyperparameters = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class MethodSpecification:
    """What dnatune knows about a method without building it.

    Attributes:
        name: canonical name.
        description: one line for the documentation and the report.
        hyperparameters: its hyperparameters by name; for a class that is not in `METHODS`, only the known ones.
        class_path: `module:Class` of the optimizer.
        stages: gradient evaluations per step, or a function that computes them from the hyperparameters.
        state_copies: copies of the trainable parameters in the optimizer's state, or a function that computes
            their number; None if unknown.
        weight_decay_style: `coupled` (added to the gradient), `decoupled` (scales the weights) or `own` (as
            its class defines).
        clipping: `engine` if DeepSpeed clips the gradient, `update` if the optimizer clips the combined
            gradient.
        experimental: whether it is a heuristic without a theory.
        elementwise: whether it treats each element separately, so that it is exact on flat shards (ZeRO 1 to 3).
        arguments: fixed constructor arguments.
    """

    name: str
    description: str
    hyperparameters: dict[str, Hyperparameter]
    class_path: str
    stages: int | Callable[[Hyperparameters], int] = 1
    state_copies: int | Callable[[Hyperparameters], int] | None = 0
    weight_decay_style: str = "coupled"
    clipping: str = "engine"
    experimental: bool = False
    elementwise: bool = True
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)


#: The only known hyperparameter of a class that is not in `METHODS`.
LEARNING_RATE = Hyperparameter(float, "step size h at its peak", minimum=0, open_below=True)
_COMMON = {
    "learning_rate": LEARNING_RATE,
    "weight_decay": Hyperparameter(float, "coefficient of the weight decay", 0.0, minimum=0),
}
_EPSILON = Hyperparameter(float, "added to the root of the second moment", 1e-8, minimum=0, open_below=True)
_BETA = {"minimum": 0, "maximum": 1, "open_above": True}
_OURS = "dnatune.optimizers.runge_kutta:"


def _runge_kutta(tableau: Tableau, description: str) -> MethodSpecification:
    return MethodSpecification(
        name=tableau.name,
        description=description,
        hyperparameters=_COMMON,
        class_path=_OURS + "RungeKutta",
        stages=tableau.stages,
        state_copies=tableau.state_copies,
        clipping="update",
        arguments={"tableau": tableau},
    )


#: One pass over each weight and its state in place of one for every operation.
_ONE_PASS = {"fused": True}

METHODS: dict[str, MethodSpecification] = {
    spec.name: spec
    for spec in (
        MethodSpecification(
            name="adamw",
            description="AdamW, as in torch.optim",
            hyperparameters={
                **_COMMON,
                "betas": Hyperparameter("betas", "decay of the first and second moment", (0.9, 0.999), **_BETA),
                "epsilon": _EPSILON,
            },
            class_path="torch.optim:AdamW",
            arguments=_ONE_PASS,
            state_copies=2,
            weight_decay_style="decoupled",
        ),
        MethodSpecification(
            name="sgd",
            description="stochastic gradient descent, as in torch.optim; Euler's method without momentum",
            hyperparameters={
                **_COMMON,
                "momentum": Hyperparameter(float, "share of the last update that is kept", 0.0, **_BETA),
                "nesterov": Hyperparameter(bool, "look ahead along the momentum", False),
            },
            class_path="torch.optim:SGD",
            arguments=_ONE_PASS,
            state_copies=lambda chosen: 1 if chosen["momentum"] else 0,
        ),
        _runge_kutta(HEUN, "Heun's method, Runge–Kutta of order 2"),
        _runge_kutta(RK4, "the classical Runge–Kutta method of order 4"),
        _runge_kutta(RK4_38, "Kutta's 3/8 rule, Runge–Kutta of order 4"),
        MethodSpecification(
            name="rkc",
            description="stabilised Runge–Kutta–Chebyshev method",
            hyperparameters={
                **_COMMON,
                "stages": Hyperparameter(int, "gradient evaluations of a step", 4, minimum=2, maximum=16),
                "damping": Hyperparameter(float, "ε: how far |R| stays below 1", 0.05, minimum=0, maximum=10),
                "order": Hyperparameter(int, "order of convergence", 1, choices=(1, 2)),
            },
            class_path=_OURS + "ChebyshevRungeKutta",
            stages=lambda chosen: chosen["stages"],
            state_copies=lambda chosen: chebyshev(chosen["stages"], chosen["damping"], chosen["order"]).state_copies,
            clipping="update",
        ),
        MethodSpecification(
            name="rk4_single_gradient",
            description="the original RK4 with its one gradient a step, which is SGD with weight decay",
            hyperparameters=_COMMON,
            class_path=_OURS + "SingleGradientRK4",
        ),
        MethodSpecification(
            name="lion",
            description="Lion, which moves each weight by the sign of an average of gradients",
            hyperparameters={
                **_COMMON,
                "betas": Hyperparameter("betas", "share of the average in a step, and its decay", (0.9, 0.99), **_BETA),
            },
            class_path="dnatune.optimizers.lion:Lion",
            state_copies=1,
            weight_decay_style="decoupled",
        ),
        MethodSpecification(
            name="rk4_adam",
            description="classical RK4 on a flow preconditioned by Adam's second moment",
            hyperparameters={
                **_COMMON,
                "beta2": Hyperparameter(float, "decay of the second moment", 0.999, **_BETA),
                "epsilon": _EPSILON,
            },
            class_path=_OURS + "RungeKuttaAdam",
            stages=RK4.stages,
            state_copies=RK4.state_copies + 1,
            weight_decay_style="decoupled",
            clipping="update",
            experimental=True,
        ),
    )
}


def is_number(value: Any) -> bool:
    """Return whether a value is a text that reads as a number, which YAML makes of 1e-4."""
    try:
        return isinstance(value, str) and math.isfinite(float(value))
    except ValueError:
        return False
