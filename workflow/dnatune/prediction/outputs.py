"""The files of predictions: TSV, Parquet and bedGraph, by their endings."""

import contextlib
import csv
import gzip
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from dnatune.files import publish_file
from dnatune.prediction.columns import Columns
from dnatune.prediction.windows import Windows
from dnatune.settings.prediction import BEDGRAPHS, GZIP, PARQUET, ending


def write(path: Path, tables: Iterable[pa.Table], columns: Columns, windows: Windows | None, shown_class: str) -> None:
    """Write the output, whole or not at all, one table at a time.

    Args:
        path: the output.
        tables: its rows.
        columns: their columns.
        windows: windows that the rows are; None if they are something else.
        shown_class: the class whose probability a bedGraph shows.
    """
    kind = ending(path.name)
    with publish_file(path) as scratch:
        if kind == PARQUET:
            with pq.ParquetWriter(scratch, columns.schema) as writer:
                for table in tables:
                    writer.write_table(table)
            return
        with _text(scratch, path.suffix.lower() == GZIP) as stream:
            if kind in BEDGRAPHS:
                stream.write(f'track type=bedGraph name="{shown_class}"\n')
                for table in tables:
                    stream.writelines(_bedgraph_lines(table, columns, windows, shown_class))
                return
            rows = csv.writer(stream, delimiter="\t", lineterminator="\n")
            rows.writerow(columns.schema.names)
            for table in tables:
                rows.writerows(zip(*(column.to_pylist() for column in table.columns), strict=True))


def _bedgraph_lines(table: pa.Table, columns: Columns, windows: Windows | None, shown_class: str) -> Iterator[str]:
    """Yield a line per row that was scored. Of windows that overlap each has the bases about its middle."""
    names: Sequence[str] = (columns.source.chromosome, "start", "end", columns.probability(shown_class))
    for chromosome, start, end, value in zip(*(table[name].to_pylist() for name in names), strict=True):
        if value is None:
            continue
        if windows and windows.stride < windows.width:
            start += (windows.width - windows.stride) // 2
            end = start + windows.stride
        yield f"{chromosome}\t{start}\t{end}\t{value:.6g}\n"


@contextlib.contextmanager
def _text(path: Path, compressed: bool) -> Iterator[TextIO]:
    # Without a time of its own, the same predictions make the same file.
    with (
        path.open("wb") as plain,
        gzip.GzipFile(fileobj=plain, mode="wb", filename="", mtime=0) if compressed else plain as binary,
        io.TextIOWrapper(binary, encoding="utf-8", newline="") as stream,
    ):
        yield stream
