"""The table of faults that `make test-faults` prints: what was done to dnatune, how often, and how often it held.

A test names its fault by `@pytest.mark.fault("…")` and counts as one case; one that tries many says how many by
`record_property("cases", …)`.
"""

from collections import defaultdict
from typing import Any

import pytest


class FaultTable:
    """Adds up the cases of each fault."""

    def __init__(self) -> None:
        #: Of each fault the cases that have passed, failed and been skipped.
        self._counts: dict[str, dict[str, int]] = defaultdict(lambda: {"passed": 0, "failed": 0, "skipped": 0})

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Note a test's fault where reports of other processes carry it along."""
        for mark in item.iter_markers("fault"):
            item.user_properties.append(("fault", mark.args[0]))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test that has run, or could not."""
        told: dict[str, Any] = dict(report.user_properties)
        if "fault" in told and (report.when == "call" or report.outcome != "passed"):
            self._counts[told["fault"]][report.outcome] += told.get("cases", 1)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the table."""
        rows = [(fault, sum(counts.values()), *counts.values()) for fault, counts in sorted(self._counts.items())]
        if rows:
            rows.append(("all", *map(sum, list(zip(*rows, strict=True))[1:])))
            terminalreporter.section("faults")
            terminalreporter.write_line("| fault | cases | passed | failed | skipped |\n|---|---|---|---|---|")
            for row in rows:
                terminalreporter.write_line("| " + " | ".join(map(str, row)) + " |")
