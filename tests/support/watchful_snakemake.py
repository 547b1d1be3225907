"""Snakemake as it is, but for one thing: it asks Slurm every two seconds how its jobs are.

The plugin asks ever more seldom while nothing ends, up to every three minutes, whatever its options say. A cluster
with thousands of jobs is grateful; a test would wait for that alone.
"""

import asyncio

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor


async def _sleep(_: RemoteExecutor) -> None:
    await asyncio.sleep(2)


if __name__ == "__main__":
    RemoteExecutor.sleep = _sleep
    main()
