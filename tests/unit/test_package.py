"""`pip install .` gives the library whole."""

import tomllib

from samples import ROOT


def test_every_folder_of_the_library_is_packaged():
    packaged = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"]
    scripts = ROOT / "workflow/scripts"
    found = [".".join(init.parent.relative_to(scripts).parts) for init in scripts.rglob("__init__.py")]
    assert sorted(packaged) == sorted([*found, "dnatune.schemas"])
