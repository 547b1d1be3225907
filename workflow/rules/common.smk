"""What every rule file uses: the checked configuration, the site, paths, settings as text.

Config keys used: name, keep_merged; the rest through `CONFIG`.
"""

import json
import os
import shlex
import sys
from pathlib import Path

SCRIPTS = Path(workflow.current_basedir).parent / "scripts"
sys.path.insert(0, str(SCRIPTS))

from dnatune import configuration, downloads, sites
from dnatune.errors import DnatuneError
from dnatune.tasks import SPLITS


def _or_stop(function, *arguments):
    """Return the function's value; a mistake of the user's ends in its message, not in a traceback."""
    try:
        return function(*arguments)
    except DnatuneError as error:
        raise WorkflowError(f"{type(error).__name__}: {error}") from None


CONFIG = _or_stop(configuration.resolve, config)
SITE = _or_stop(sites.load, Path(workflow.current_basedir).parents[1], os.environ)
RESULTS = f"results/{CONFIG.settings['name']}"
LOGS = f"logs/{CONFIG.settings['name']}"
RUNS = CONFIG.runs()
ENVIRONMENT = "../../envs/dnatune.yaml"

# The interpreter that runs Snakemake, unless a conda environment brings its own.
PYTHON = "python" if workflow.deployment_settings.deployment_method else shlex.quote(sys.executable)


wildcard_constraints:
    model="[^/]+",
    task="[^/]+",
    optimizer="[^/]+",
    seed="[0-9]+",
    baseline="[a-z]+",


def as_text(settings):
    """Return settings as one line of JSON: a changed value changes it, and Snakemake reruns the rule."""
    return json.dumps(settings, ensure_ascii=False, sort_keys=True)


def run_of(wildcards):
    """Return the cell of the grid that the wildcards name."""
    return configuration.Run(wildcards.model, wildcards.task, wildcards.optimizer, int(wildcards.seed))
