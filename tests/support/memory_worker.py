"""Choose a micro-batch on several ranks, one of which has less memory than the others; for test_micro_batch.py."""

import argparse
import json
from pathlib import Path

from dnatune.errors import run_script


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--limits", type=json.loads, required=True, help="maximum number of rows per forward pass, for each rank"
    )
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()

    from dnatune.launch.process_group import join

    rank = join(60)
    import torch
    from torch import distributed, nn

    from dnatune.data.prompts import EncodedExamples
    from dnatune.model import micro_batch
    from dnatune.model.shared_prefix.packing import pack_training

    class Limited(nn.Module):
        """A model with limited memory: larger batches raise torch's own error."""

        def __init__(self, limit: int):
            super().__init__()
            self.weight, self.limit = nn.Parameter(torch.ones(())), limit
            self.sizes: list[int] = []

        def forward(self, batch):
            self.sizes.append(len(batch))
            if len(batch) > self.limit:
                raise torch.OutOfMemoryError("no memory is left")
            return self.weight * torch.ones(len(batch.targets))

    likelihood = Limited(options.limits[rank.index])

    def attempt(indices):
        batch = pack_training(train, indices, False)
        torch.autograd.grad(likelihood(batch).sum(), list(likelihood.parameters()))

    train = EncodedExamples([], [[4] * (1 + i % 3) for i in range(100)], [0] * 100, [[5, 2]])
    found = micro_batch.largest_that_fits(attempt, train, 50, 1, rank.device, 1000)
    (options.folder / f"rank{rank.index}.json").write_text(
        json.dumps({"found": found, "sizes": likelihood.sizes, "gradient": likelihood.weight.grad is not None})
    )
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    run_script(main)
