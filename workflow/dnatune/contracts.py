"""The JSON files between the stages: one model per file checks what is written and what is read.

docs/make_tables.py makes the tables of docs/contracts.md from the models' fields.
"""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, ClassVar, Self

import pydantic

from dnatune.errors import DataError
from dnatune.files import digest, write_json

#: Key of the digest of all other keys. A file without it, which somebody has edited, is taken as it is.
_DIGEST = "digest"
#: Most wrong keys that a message names, and most characters of a wrong value.
_MOST_PROBLEMS, _LONGEST = 3, 60


@dataclasses.dataclass(frozen=True)
class Unit:
    """The unit of a field, as the documentation names it."""

    name: str


Seconds = Annotated[float, Unit("s")]
Nats = Annotated[float, Unit("nats")]
NatsPerToken = Annotated[float, Unit("nats/token")]


class Record(pydantic.BaseModel):
    """What a JSON file holds. A field's docstring is its description; the types are strict, and no number is NaN.

    Unknown keys are an error where a record is made. They are ignored where one is read, so that an older version
    reads the files of a newer one; a key that changes its meaning must therefore get a new name.
    """

    model_config = pydantic.ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )
    #: What to do about a file that cannot be used.
    remedy: ClassVar[str] = "delete it; the workflow makes it again"

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file.

        Raises:
            DataError: the file is missing, is not JSON or breaks the contract; the message names the keys.
        """
        try:
            text = path.read_bytes()
            read = cls.model_validate_json(text, extra="ignore")
        except FileNotFoundError:
            raise DataError("file not found", where=str(path), fix="run the stage that makes it first") from None
        except OSError as error:
            raise DataError(
                f"cannot be read: {error.strerror}", where=str(path), fix="see to its permissions"
            ) from None
        except pydantic.ValidationError as error:
            raise DataError(_problems(error), where=str(path), fix=cls.remedy) from None
        content = json.loads(text)
        if content.pop(_DIGEST, None) not in (None, digest(content)):
            raise DataError("the file has changed since it was written", where=str(path), fix=cls.remedy)
        return read

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all, with a digest of its content, which `read` checks."""
        content = self.model_dump(mode="json")
        write_json(path, {**content, _DIGEST: digest(content)})


def _problems(error: pydantic.ValidationError) -> str:
    """Return every missing key, and the first wrong ones, in words."""
    missing, wrong = [], []
    for problem in error.errors(include_url=False):
        key = ".".join(map(str, problem["loc"]))
        said = problem["msg"].replace("Input should be", "should be", 1).removeprefix("Value error, ")
        if problem["type"] == "missing":
            missing.append(key)
        else:
            found = repr(problem["input"])
            found = found if len(found) <= _LONGEST else f"{found[:_LONGEST]}…"
            wrong.append(f"'{key}' is {found}: it {said}" if key else f"not a valid record: {said}")
    return "; ".join([*([f"missing: {', '.join(missing)}"] if missing else []), *wrong[:_MOST_PROBLEMS]])
