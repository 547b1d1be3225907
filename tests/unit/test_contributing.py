"""CONTRIBUTING.md names every room of the library, and no file that does not exist."""

import re

from samples import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
LIBRARY = ROOT / "workflow/dnatune"


def test_the_map_has_a_line_for_every_room():
    table = PAGE.split("| room |")[1].split("\n\n")[0]
    named = set(re.findall(r"`([\w.]+)/?`", "\n".join(line.split("|")[1] for line in table.splitlines()[1:])))
    rooms = {path.name for path in LIBRARY.iterdir() if path.name not in ("__init__.py", "__main__.py", "__pycache__")}
    assert named == {room for room in rooms if room != "published.tsv"}


def test_every_path_that_it_names_is_there():
    paths = re.findall(r"`((?:workflow|tests|docs|profiles|tools)/[^`<{]*)`", PAGE)
    assert len(paths) > 20
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_make_target_that_it_names_is_there():
    targets = re.findall(r"(?:^|`)make ([a-z-]+)", PAGE, re.M)
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert len(targets) > 5
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.M)] == []
