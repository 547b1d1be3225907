"""Settings on a script's command line: JSON text, or @file."""

import json
from pathlib import Path
from typing import Any

from dnatune.errors import ConfigurationError
from dnatune.files import read_json


def read_settings(argument: str) -> Any:
    """Return the value of a `--settings` argument.

    Raises:
        ConfigurationError: the text is not JSON.
        DataError: the file after `@` is missing or not JSON.
    """
    if argument.startswith("@"):
        return read_json(Path(argument[1:]))
    try:
        return json.loads(argument)
    except ValueError as error:
        raise ConfigurationError(
            f"not valid JSON: {error}", where="command line, --settings", fix="give JSON text, or @file"
        ) from None
