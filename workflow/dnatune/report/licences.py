"""The licence of a base model, as its own card states it."""

import dataclasses
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from huggingface_hub import ModelCard

from dnatune.data.manifests import Manifest

_CARD = "README.md"
_NAMES = ("license", "licence", "notice")


@dataclasses.dataclass(frozen=True)
class Licence:
    """What the front matter of a card says of the licence.

    Attributes:
        identifier: the hub's identifier, such as `mit`, `llama3` or `other`; several if the card names several.
        name: name of a licence that has no identifier; None for the others.
        link: where it stands; None if the card does not say.
    """

    identifier: str | list[str]
    name: str | None = None
    link: str | None = None

    @classmethod
    def of(cls, folder: Path, manifest: Manifest) -> Self | None:
        """Return the licence that the card in a base model's folder states; None if there is no card or it states none.

        A link to a file of the model's repository becomes a link to that repository, unless the folder has the file.

        Args:
            folder: of the base model.
            manifest: its manifest.json.
        """
        stated = _front_matter(folder / _CARD)
        identifier, name, link = (stated.get(key) for key in ("license", "license_name", "license_link"))
        if not _is_text(identifier) and not (
            isinstance(identifier, list) and identifier and all(map(_is_text, identifier))
        ):
            return None
        link = link if _is_text(link) else None
        if link and not urlsplit(link).scheme and link not in {path.name for path in files(folder)}:
            on_hub = (
                manifest.source == "hub" and f"https://huggingface.co/{manifest.origin}/blob/{manifest.revision}/{link}"
            )
            link = on_hub or None
        return cls(identifier, name if _is_text(name) else None, link)

    @property
    def front_matter(self) -> dict[str, Any]:
        """Return the keys of a card's front matter that state it."""
        stated = {"license": self.identifier, "license_name": self.name, "license_link": self.link}
        return {key: value for key, value in stated.items() if value}

    def __str__(self) -> str:
        """Return it for a reader."""
        named = self.identifier if isinstance(self.identifier, str) else ", ".join(self.identifier)
        return f"{named} ({self.name})" if self.name else named


def files(folder: Path) -> list[Path]:
    """Return the files of a base model that hold its licence, and notices that go with it."""
    return sorted(path for path in folder.iterdir() if path.is_file() and is_licence(path.name))


def is_licence(name: str) -> bool:
    """Return whether a file of that name holds a licence or a notice."""
    stem, _, ending = name.lower().partition(".")
    return stem in _NAMES and ending != "json"


def _front_matter(card: Path) -> dict[str, Any]:
    """Return what the front matter of a card says; nothing where there is none, or none that the hub's client reads."""
    try:
        return ModelCard.load(card, ignore_metadata_errors=True).data.to_dict()
    except Exception:  # of many types, for the file is a stranger's: OSError, UnicodeDecodeError, errors of YAML
        return {}


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
