"""The stages: one module each, with its arguments, its call and what it writes."""

import argparse


def stage_parser(module: str, doc: str) -> argparse.ArgumentParser:
    """Return the argument parser of a stage, whose help is the docstring of its module."""
    name = module.rpartition(".")[2]
    formatter = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(prog=f"python -m dnatune {name}", description=doc, formatter_class=formatter)


def count(text: str) -> int:
    """Return a whole number of 1 or more."""
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text} is no whole number of 1 or more")
    return int(text)
