"""The library that the rules call: the checkout's, or the installed package where the rules come without it.

Snakemake fetches rules of a git repository one file at a time, never the library beside them. The package `dnatune`
must then be installed beside Snakemake, in the version of the rules. It also holds the sites and the configurations.

Config keys used: none
Sets: LIBRARY, the checkout's folder `workflow`, None where the package is installed; ROOT, the folder that holds
      `config` and `profiles`.
"""

import importlib.metadata
import importlib.util
import os
import sys
import tomllib
from pathlib import Path


def library_of_checkout():
    """Return the folder `workflow` of the checkout that these rules lie in, None if the library is not beside them."""
    if not isinstance(workflow.current_basedir, os.PathLike):
        return None
    folder = Path(workflow.current_basedir).parent
    return folder if (folder / "dnatune" / "__init__.py").is_file() else None


def installed_package():
    """Return the folder of the installed package, which must have the version of these rules."""
    found = importlib.util.find_spec("dnatune")
    folder = Path(found.origin).parent if found and found.origin else None
    if folder and isinstance(workflow.current_basedir, os.PathLike):
        if Path(workflow.current_basedir).resolve().is_relative_to(folder.resolve()):
            return folder
    project = Path(workflow.source_path("../../pyproject.toml"))
    needed = tomllib.loads(project.read_text("utf-8"))["project"]["version"]
    try:
        version = importlib.metadata.version("dnatune") if folder else None
    except importlib.metadata.PackageNotFoundError:
        version = None
    if version == needed:
        return folder
    raise WorkflowError(
        "ConfigurationError: "
        + (
            f"the package dnatune is installed in version {version}"
            if version
            else "the package dnatune is not installed"
        )
        + f", and the rules are of version {needed}\n"
        f"  where: {workflow.current_basedir.get_path_or_uri(secret_free=True)}\n"
        f"  to do: install it with {sys.executable} -m pip install, from the same tag of the repository as the rules"
    )


LIBRARY = library_of_checkout()
if LIBRARY:
    sys.path.insert(0, str(LIBRARY))
ROOT = LIBRARY.parent if LIBRARY else installed_package()
