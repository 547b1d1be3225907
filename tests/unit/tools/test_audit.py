"""The audit of the lock passes only if every package was looked up."""

import json
import os
import subprocess
import sys

import pytest

from samples import ROOT

FINE = {"name": "a", "version": "1", "vulns": []}
BAD = {
    "name": "b",
    "version": "2",
    "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["3"], "description": "…"}],
}
SKIPPED = {"name": "c", "skip_reason": "Dependency not found on PyPI and could not be audited: c (1)"}


@pytest.fixture
def audit(tmp_path):
    """A function that runs the audit with a program in the place of pip-audit; it returns the ended process."""

    def run(packages=None, stderr="", status=0):
        program = tmp_path / "environment/bin/pip-audit"
        program.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out").write_text("" if packages is None else json.dumps({"dependencies": packages}), "utf-8")
        (tmp_path / "err").write_text(stderr, "utf-8")
        program.write_text(f"#!/bin/sh\ncat {tmp_path}/out; cat {tmp_path}/err >&2; exit {status}\n", "utf-8")
        program.chmod(0o755)
        return command(tmp_path / "environment")

    return run


def command(environment, **variables):
    words = [sys.executable, ROOT / "tools/audit.py", ROOT / "envs/requirements.lock", "--environment", environment]
    return subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, **variables})


def test_nothing_known_of_packages_that_were_looked_up_is_well(audit):
    done = audit([FINE])
    assert done.returncode == 0 and "no known vulnerability" in done.stdout


def test_a_known_vulnerability_is_told_and_fails(audit):
    done = audit([FINE, BAD, SKIPPED], status=1)
    assert (done.returncode, done.stdout) == (1, "b 2: PYSEC-1 (CVE-1), mended in 3\n")


def test_packages_that_could_not_be_looked_up_are_not_well(audit):
    """pip-audit says that no vulnerability is known, and exits with 0."""
    done = audit([FINE, SKIPPED], stderr="No known vulnerabilities found\n")
    assert done.returncode == 5 and "has not answered for 1 of 2 packages: c" in done.stderr
    assert "no offline database" in done.stderr


def test_a_database_that_cannot_be_reached_is_said(audit):
    done = audit(stderr="Traceback …\nConnectionError: api\n", status=1)
    assert done.returncode == 5 and "cannot be reached; pip-audit says: ConnectionError: api" in done.stderr


def test_a_pip_audit_that_cannot_be_installed_is_said(tmp_path):
    done = command(tmp_path / "new", PIP_INDEX_URL="http://127.0.0.1:9/", PIP_CONFIG_FILE=os.devnull, PIP_RETRIES="0",
                   PIP_NO_INDEX="1", PIP_FIND_LINKS="")  # fmt: skip
    assert done.returncode == 5 and "pip-audit==2.10.1 cannot be installed" in done.stderr
    assert "Traceback" not in done.stderr
