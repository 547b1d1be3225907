"""Run the speed comparison on a CPU by the way it takes on a GPU; for test_benchmark.py."""

import dataclasses

from dnatune.errors import run_script


def main() -> None:
    from dnatune.launch import process_group

    join = process_group.join
    # To torch the same device as `cpu`, to dnatune one on which every micro-batch is tried.
    process_group.join = lambda seconds: dataclasses.replace(join(seconds), device="cpu:0")
    from dnatune.benchmark import bench
    from dnatune.commands import benchmark

    bench.liger_usable = lambda _: False
    benchmark.main()


if __name__ == "__main__":
    run_script(main)
