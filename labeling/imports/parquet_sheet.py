"""Parquet, of which nothing is believed before it is checked."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

import numpy as np

from labeling.imports.sheets import (
    BLOCK_ROWS,
    MIB,
    Block,
    Limits,
    Sheet,
    UnreadableFileError,
    checked_columns,
    positions,
)


class ParquetSheet(Sheet):
    """Read column by column, in small batches; what the footer declares is checked before any data is."""

    format = "Parquet"

    def __init__(self, stream: IO[bytes], limits: Limits) -> None:
        import pyarrow.parquet as pq

        self.limits, self.done = limits, 0
        size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        with _arrow_errors():
            self.file = pq.ParquetFile(
                stream,
                thrift_string_size_limit=16 * MIB,
                thrift_container_size_limit=1_000_000,
                buffer_size=MIB,  # else a column of a row group is read as a whole
                pre_buffer=False,  # else the bytes of all that was read stay in memory to the end
            )
            metadata = self.file.metadata
            if metadata.num_columns > limits.columns:
                raise UnreadableFileError(
                    f"The file has {metadata.num_columns:,} columns, more than {limits.columns:,}. "
                    "Keep those that you need."
                )
            self.total: int = metadata.num_rows
            unpacked = sum(metadata.row_group(n).total_byte_size for n in range(metadata.num_row_groups))
            if self.total > max(1_000_000, limits.rows_per_byte * size) or self.total < 0:
                raise UnreadableFileError(
                    f"The file declares {self.total:,} rows in {size:,} bytes, which tweets never fit."
                )
            if unpacked > max(limits.grace_bytes, limits.ratio * size):
                raise UnreadableFileError(
                    f"The file declares {unpacked:,} unpacked bytes in {size:,}, which texts never do."
                )
            self.columns = checked_columns(self.file.schema_arrow.names, limits)

    def blocks(self, wanted: Sequence[str]) -> Iterator[Block]:
        picks = positions(self.columns, wanted)
        names = self.file.schema_arrow.names
        with _arrow_errors():
            batches = self.file.iter_batches(
                BLOCK_ROWS, columns=list(dict.fromkeys(names[pick] for pick in picks)), use_threads=False
            )
            for batch in batches:
                numbers = np.arange(self.done + 1, self.done + 1 + batch.num_rows)
                self.done += batch.num_rows
                yield Block(numbers, [_plain(batch.column(names[pick])) for pick in picks])

    def fraction_read(self) -> float:
        return self.done / self.total if self.total else 1.0


def _plain(column: Any) -> Any:
    """The column without dictionary and nanoseconds, which Python's times cannot hold."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    return column


@contextmanager
def _arrow_errors() -> Iterator[None]:
    """Whatever Arrow makes of a damaged file becomes words."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError) as error:
        first_line = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise UnreadableFileError(f"The Parquet file is damaged: {first_line[0][:200]}") from error
