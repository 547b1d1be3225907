"""Runs `python -m dnatune`."""

from dnatune.cli import main

main()
