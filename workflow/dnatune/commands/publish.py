"""Publish a tuned model of finished results, with its card and metrics, to a model hub or to a folder.

Without --execute, nothing is sent or written: what would be is listed, after every file has been checked. A repository
that is not there yet is made, private unless --public is given. The token comes from HF_TOKEN or a stored log-in.

By hand:  python -m dnatune publish --model results/demo/merge/tiny/prom_core_all/adamw/seed0
          --repository owner/promoters --execute
"""

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from dnatune.commands import stage_parser

if TYPE_CHECKING:
    from dnatune.data.hub.repository import Repository
    from dnatune.publication.bundle import Bundle


def main() -> None:
    """Parse the command line; list what would be published, or publish it."""
    options = _arguments()

    from dnatune.publication import bundle, folder

    trained = bundle.find(options.model, options.base)
    repository = _repository(options)
    with tempfile.TemporaryDirectory() as scratch:
        made = bundle.Bundle.of(trained, options.repository or ".", Path(scratch))
        print(listing(made))
        print(f"\nto: {_target(options, repository)}")
        if not options.execute:
            new = options.repository or folder.check(made, options.folder)
            print("\nNothing was sent or written: add --execute." if new else "\nAll of it is there already.")
        elif repository is None:
            done = folder.publish(made, options.folder)
            print(f"\nPublished to {options.folder}." if done else "\nAll of it is there already: nothing was changed.")
        else:
            _send(made, repository, options.public)


def _arguments() -> argparse.Namespace:
    parser = stage_parser(__name__, __doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of a merged model, or of a run with adapter/")
    parser.add_argument("--base", type=Path, help="base model of an adapter; default: that of the results folder")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--repository", metavar="OWNER/NAME", help="repository of a model hub (HF_ENDPOINT)")
    target.add_argument("--folder", type=Path, help="folder to write in place of a repository")
    parser.add_argument("--revision", help="branch of the repository; default: main")
    parser.add_argument("--public", action="store_true", help="everybody may see the repository; default: private")
    parser.add_argument("--execute", action="store_true", help="publish; without it, only list what would be published")
    options = parser.parse_args()
    if options.folder and (options.public or options.revision):
        parser.error("--public and --revision go with --repository")
    return options


def _repository(options: argparse.Namespace) -> "Repository | None":
    """Return the repository to publish to; None for a folder.

    Raises:
        DownloadError: its name, the branch or the hub's address is malformed.
    """
    from dnatune.data.hub.repository import Repository

    if options.repository is None:
        return None
    return Repository.checked(options.repository, "model", options.revision or "main", None, True)


def listing(bundle: "Bundle") -> str:
    """Return what would be published, in words and lines."""
    width = max(len(item.name) for item in bundle.items)
    kind = "adapter, which needs its base model" if bundle.adapter else "merged model"
    lines = [f"{bundle.place}: {kind}, {len(bundle.items)} files, {bundle.size:,} bytes", ""]
    lines += [f"  {item.name:{width}}  {item.size:>14,}  sha256 {item.sha256}" for item in bundle.items]
    unknown = "not known: the base model's README.md states none. State one in the published card"
    lines += ["", f"licence: {bundle.licence or unknown}"]
    lines += [f"run.json tells the names of the machines that trained: {', '.join(bundle.hosts)}"]
    return "\n".join(lines)


def _target(options: argparse.Namespace, repository: "Repository | None") -> str:
    if repository is None:
        return f"folder {options.folder}"
    seen = "public" if options.public else "private"
    return f"{seen} repository {repository.name}, branch {repository.revision}, at {repository.host}"


def _send(bundle: "Bundle", repository: "Repository", public: bool) -> None:
    from dnatune.publication import hub

    commit = hub.publish(bundle, repository, public, lambda said: print(said, flush=True))
    if commit is None:
        print("\nAll of it is there already: nothing was changed.")
    else:
        print(f"\nPublished as commit {commit}: {repository.host}/{repository.name}/tree/{repository.revision}")
