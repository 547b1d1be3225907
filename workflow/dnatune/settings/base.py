"""What all models of settings share: frozen, strictly typed, no unknown keys; each field has a unit and a meaning."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WrapValidator
from pydantic_core import PydanticCustomError, PydanticUndefined

from dnatune.settings.plain_values import unprintable, without_nulls


class Settings(BaseModel):
    """A map of settings. The docstring below a field says what it means, `setting` the rest."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @classmethod
    def read(cls, value: Any, noun: str = "config", prefix: str = "") -> Self:
        """Return the settings that a plain map holds, defaults filled in. A key that is null counts as absent.

        Args:
            value: the map, as YAML or JSON gives it.
            noun: what the keys are of, for a message.
            prefix: dotted path of the map, for a message.

        Raises:
            ConfigurationError: the first key that is wrong and what it may be; of a misspelling the nearest key.
        """
        pruned = without_nulls(value, noun, prefix)
        try:
            return cls.model_validate(pruned)
        except ValidationError as error:
            from dnatune.settings import messages

            raise messages.explain(error, cls, noun, prefix) from None

    def plain(self) -> dict[str, Any]:
        """Return everything as maps and lists, which `read` takes back. What is None is left out."""
        return self._map(operational=True)

    def compared(self) -> dict[str, Any]:
        """Return what decides a result, as maps and lists: `plain` without the fields that rerun nothing."""
        return self._map(operational=False)

    def _map(self, operational: bool) -> dict[str, Any]:
        return {
            field.alias or name: _plain(value, operational)
            for name, field in type(self).model_fields.items()
            if (value := getattr(self, name)) is not None and (operational or field.json_schema_extra["reruns"])
        }


def setting(default: Any = PydanticUndefined, *, unit: str, reruns: bool = True, **options: Any) -> Any:
    """Return a field of `Settings`.

    Args:
        default: value where the key is absent; without one, and without `default_factory`, the key must be given.
        unit: of the value.
        reruns: whether another value may change a result. If not, it reruns nothing and a run that was cut short goes
            on after it.
        options: bounds and others of `pydantic.Field`.
    """
    extra: dict[str, Any] = {"unit": unit, "reruns": reruns}
    if "default_factory" in options:
        extra["default"] = {}
    if isinstance(default, Settings):
        extra["default"] = default.plain()
    return Field(default, json_schema_extra=extra, **options)


def refused(key: str, what: str, fix: str) -> PydanticCustomError:
    """Return what a validator of a model raises where values do not fit each other.

    Args:
        key: field to name, below the model or field that is validated; empty for that itself.
        what: what is wrong.
        fix: what to do.
    """
    return PydanticCustomError("refused", "{what}", {"key": key, "what": what, "fix": fix})


def exactly_one(value: Any, keys: tuple[str, ...]) -> Any:
    """Return a map that has one key; for a validator before a model's fields.

    Raises:
        PydanticCustomError: it has none or several.
    """
    if isinstance(value, Mapping) and len(value) != 1:
        said = f"{', '.join(map(str, value)) or 'nothing'} given; exactly one of {', '.join(keys)} is needed"
        raise PydanticCustomError("wrong_count", "{what}", {"what": said})
    return value


def _all_different(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) != len(values):
        raise PydanticCustomError("repeated", "an item stands there twice")
    return values


def _printed(text: str) -> str:
    if letter := unprintable(text):
        raise PydanticCustomError("unprintable", "it holds the character {letter}", {"letter": repr(letter)})
    return _not_blank(text)


def _without_wildcards(path: str) -> str:
    if found := set(path) & set("{}<>"):
        letter = min(found)
        said = "Snakemake would read {letter} in a path as a name to fill in"
        raise PydanticCustomError("wildcard", said, {"letter": letter})
    return path


def _not_blank(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "it is blank")
    return text


def _digits_as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _as_given(value: Any, check: Any) -> Any:
    checked = check(value)
    return value if isinstance(value, int) else checked


#: A number that stays whole if it was given so: 32 and 32.0 are different texts in a record.
Number = Annotated[float, WrapValidator(_as_given)]
#: Lists are read as tuples, which nothing changes later.
AsTuple = Field(strict=False)
AllDifferent = AfterValidator(_all_different)
#: YAML and Snakemake's command line read a run called 2024, or a label 0, as a number.
_DigitsToo = BeforeValidator(_digits_as_text, json_schema_input_type=str)
#: A word that is part of a path. File systems allow 255 bytes, and suffixes come behind it.
Name = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100), _DigitsToo]
#: A text on one line.
Text = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_printed), _DigitsToo]
#: A path, which may become an input of Snakemake's.
FilePath = Annotated[Text, AfterValidator(_without_wildcards)]
#: A text of several lines.
Prose = Annotated[str, Field(min_length=1), AfterValidator(_not_blank)]


def _plain(value: Any, operational: bool) -> Any:
    if isinstance(value, Settings):
        return value._map(operational)
    if isinstance(value, Mapping):
        return {key: _plain(item, operational) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, operational) for item in value]
    return value
