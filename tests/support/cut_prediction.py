"""The predict stage with chunks of a few rows, which kills itself when it is to write one of them.

By hand:  python tests/support/cut_prediction.py ROWS PART --model … (as `python -m dnatune predict`)
"""

import os
import signal
import sys

from dnatune.commands import predict
from dnatune.errors import run_script
from dnatune.prediction import parts, rows

if __name__ == "__main__":
    rows.CHUNK, part = map(int, sys.argv[1:3])
    sys.argv[1:3] = []
    write = parts.Parts.write

    def cut(self, number, table):
        if number == part:
            os.kill(os.getpid(), signal.SIGKILL)
        write(self, number, table)

    parts.Parts.write = cut
    run_script(predict.main)
