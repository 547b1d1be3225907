"""Whether what is at a target may be replaced: only what dnatune has published there of the same run, unchanged."""

from collections.abc import Iterable
from pathlib import Path

from dnatune.data.integrity import Contents
from dnatune.errors import DataError
from dnatune.publication.bundle import CARD, METRICS
from dnatune.publication.errors import PublishError
from dnatune.training.record import Run

_ELSEWHERE = "name another target; or look at what is there, and move it away if you do not need it"
#: Most files that a message names.
_MOST_NAMED = 3


def published_files(manifest: Path, where: str) -> dict[str, str]:
    """Return the SHA-256 of each file that dnatune has published at a target.

    Args:
        manifest: the target's manifest.json.
        where: the target, for messages.

    Raises:
        PublishError: dnatune did not publish what is there.
    """
    try:
        files = Contents.read(manifest).files
    except DataError:
        files = {}
    # The workflow's own folders have a manifest without them.
    if not {CARD, METRICS} <= files.keys():
        raise PublishError("there are files that dnatune did not publish", where=where, fix=_ELSEWHERE)
    return files


def refuse_strangers(names: Iterable[str], where: str) -> None:
    """Refuse to replace a target that has files besides those that dnatune has published there.

    Raises:
        PublishError: it has.
    """
    if names := sorted(names):
        raise PublishError(f"there are files that dnatune did not publish: {_some(names)}", where=where, fix=_ELSEWHERE)


def refuse_changed(names: Iterable[str], where: str) -> None:
    """Refuse to replace files that have changed since dnatune has published them.

    Raises:
        PublishError: there are such files.
    """
    if names := sorted(names):
        raise PublishError(
            f"files have changed there since they were published: {_some(names)}",
            where=where,
            fix="save what you want to keep of them, delete them there and publish again",
        )


def refuse_other_run(record: Path, place: str, where: str) -> None:
    """Refuse to replace one run's model by another's.

    Args:
        record: run.json of the target.
        place: of the run to publish.
        where: the target, for messages.

    Raises:
        PublishError: the target holds another run.
    """
    if (found := Run.read(record).place) != place:
        raise PublishError(
            f"another run is published there: {found}, and not {place}", where=where, fix="name another target"
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:_MOST_NAMED]) + (" …" if len(names) > _MOST_NAMED else "")
