"""Which processes Snakemake tells to end with it; that it does is tested in tests/faults and tests/slurm."""

import shutil
import subprocess

from dnatune.launch import end_signals


def test_programs_that_ask_slurm_are_no_stages(tmp_path):
    (tmp_path / "squeue").symlink_to(shutil.which("sleep"))
    asking, stage = (subprocess.Popen([program, "60"]) for program in (tmp_path / "squeue", "sleep"))
    try:
        found = {process.pid for process in end_signals._stages()}
    finally:
        for each in (asking, stage):
            each.kill()
            each.wait()
    assert stage.pid in found and asking.pid not in found
