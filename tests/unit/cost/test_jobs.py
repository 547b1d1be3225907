"""Snakemake's table of jobs is read as it is printed."""

import pytest

from dnatune.cost import jobs
from dnatune.errors import ConfigurationError

_TABLE = """Building DAG of jobs...
Job stats:
job         count
--------  -------
finetune       12
all             1
total          13

Reasons:
"""


def test_the_table_is_read():
    assert jobs.read_counts(_TABLE) == {"finetune": 12, "all": 1}


def test_nothing_to_be_done_is_no_job():
    assert jobs.read_counts("Nothing to be done (all requested files are present and up to date).") == {}


def test_another_output_is_refused():
    with pytest.raises(ConfigurationError, match="no table"):
        jobs.read_counts("something else")


def test_the_snakefile_is_there():
    assert jobs.snakefile().is_file()
