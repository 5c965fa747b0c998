"""The child process that reads a stranger's file: little memory, no secrets of the database, no Django.

The parent's half is prepared_batches() and first_rows(); the child's is main(). Whatever the file does to
its reader (a bomb, a damaged Parquet page), the parent gets one clear error.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import resource
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import IO, Any

from labeling.imports.batches import Batch, read_message, write_message
from labeling.imports.mapping import Mapping
from labeling.imports.preparing import Job, Preparer
from labeling.imports.reading import open_sheet
from labeling.imports.sheets import MIB, BadRow, Limits, Sheet, UnreadableFileError

PREVIEW_ROWS = 200  # read to guess the mapping; a page shows the first of them
PREVIEW_SECONDS = 10
SILENT_SECONDS = 120  # a reader that gives no batch for so long is stuck
DEFAULT_MEMORY_MB = 512
ROOT = Path(__file__).resolve().parents[2]
_ready: list[subprocess.Popen[bytes]] = []  # a child that waits for its file; it ends with this process


# The parent's half ---------------------------------------------------------------------------------------


def prepared_batches(
    path: str,
    *,
    name: str,
    job: Job,
    memory_mb: int = DEFAULT_MEMORY_MB,
    limits: Limits | None = None,
    waiting: Callable[[], None] = lambda: None,
) -> Iterator[Batch]:
    """The file's batches, made by a child process.

    Calls `waiting` about once a second while there is none. Raises UnreadableFileError.
    """
    request = {"task": "prepare", "path": path, "name": name, "job": asdict(job)}
    with _child(request, memory_mb=memory_mb, limits=limits) as child:
        while True:
            _await_output(child, SILENT_SECONDS, waiting)
            message = _receive(child)
            if isinstance(message, Batch):
                yield message
            elif "error" in message:
                raise UnreadableFileError(message["error"])
            else:
                return


def first_rows(
    path: str, *, name: str, memory_mb: int = DEFAULT_MEMORY_MB, limits: Limits | None = None
) -> dict[str, Any]:
    """{"format", "columns", "rows"} of the beginning of a file. Raises UnreadableFileError."""
    request = {"task": "preview", "path": path, "name": name}
    with _child(request, memory_mb=memory_mb, limits=limits) as child:
        _await_output(child, PREVIEW_SECONDS, lambda: None)
        message = _receive(child)
        if not isinstance(message, dict) or "error" in message:
            raise UnreadableFileError(
                message["error"] if isinstance(message, dict) else "The file is damaged."
            )
        return message


@contextlib.contextmanager
def _child(
    request: dict[str, Any], *, memory_mb: int, limits: Limits | None
) -> Iterator[subprocess.Popen[bytes]]:
    request |= {"memory_mb": memory_mb, "limits": asdict(limits or Limits())}
    child = _ready.pop() if _ready else _start()
    if child.poll() is not None:
        child = _start()
    assert child.stdin is not None
    try:
        with contextlib.suppress(BrokenPipeError), child.stdin as stdin:
            stdin.write(json.dumps(request).encode())
        yield child
    finally:
        child.kill()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()


def get_ready() -> None:
    """Start a child now for the next file, which need not wait then until it has loaded its libraries: .25 s."""
    if not _ready:
        _ready.append(_start())


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "labeling.imports.reader_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,  # select() must see what waits in the pipe
        cwd=ROOT,
        env=_environment(),
        start_new_session=True,  # Ctrl-C is for the parent, which then ends the child
    )


def _environment() -> dict[str, str]:
    """Nothing that a broken reader could give away: no DATABASE_URL, no SECRET_KEY."""
    kept = {
        name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR", "VIRTUAL_ENV") if name in os.environ
    }
    # One thread, and the allocator that keeps within the limit.
    return kept | {
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "MALLOC_ARENA_MAX": "2",
        "PYTHONUTF8": "1",
    }


def _await_output(child: subprocess.Popen[bytes], seconds: int, waiting: Callable[[], None]) -> None:
    assert child.stdout is not None
    for _ in range(seconds):
        if select.select([child.stdout], [], [], 1.0)[0]:
            return
        waiting()
    raise UnreadableFileError(f"Reading the file took longer than {seconds} seconds without a result.")


def _receive(child: subprocess.Popen[bytes]) -> Batch | dict[str, Any]:
    assert child.stdout is not None
    try:
        message = read_message(child.stdout)
    except (ValueError, TypeError, KeyError):
        message = None
    if message is None:
        child.kill()
        raise UnreadableFileError(
            f"The reader of the file stopped (status {child.wait()}). The file is damaged, or it needs more "
            "memory than is allowed. Write it again as CSV, or in smaller parts."
        )
    return message


# The child's half ----------------------------------------------------------------------------------------


def main() -> None:
    asked = sys.stdin.buffer.read()
    if not asked:  # the parent has ended without a file for it
        return
    request = json.loads(asked)
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=MIB)
    sys.meta_path.insert(0, _WithoutPandas())
    _limit_resources(request["memory_mb"], preview=request["task"] == "preview")
    try:
        message = _preview(request) if request["task"] == "preview" else _prepare(request, output)
    except UnreadableFileError as error:
        message = {"error": str(error)}
    except MemoryError:
        message = {
            "error": f"Reading the file needs more than {request['memory_mb']} MB of memory. Write it in smaller "
            "parts (Parquet: in smaller row groups)."
        }
    except BrokenPipeError:  # the parent has gone
        os._exit(1)
    except Exception as error:
        message = {"error": f"The file cannot be read: {type(error).__name__}: {str(error)[:200]}"}
    write_message(output, message)
    output.flush()
    os._exit(0)  # whatever a damaged file has done to the libraries, they are not asked to clean up


class _WithoutPandas(MetaPathFinder):
    """Arrow would load it to ask whether an array is one of pandas': as long as reading 50,000 rows."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name=name)


def _limit_resources(memory_mb: int, *, preview: bool) -> None:
    limits = {
        resource.RLIMIT_DATA: memory_mb * MIB,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 8 << 30,  # the unpacked copy of a compressed Parquet file
    }
    if preview:
        limits[resource.RLIMIT_CPU] = PREVIEW_SECONDS
    for kind, limit in limits.items():
        resource.setrlimit(kind, (limit, limit))


def _open(request: dict[str, Any]) -> Sheet:
    try:
        stream: IO[bytes] = open(request["path"], "rb")  # noqa: SIM115
    except OSError as error:
        raise UnreadableFileError(f"The file cannot be opened: {error.strerror}.") from error
    size = os.fstat(stream.fileno()).st_size
    return open_sheet(stream, name=request["name"], size=size, limits=Limits(**request["limits"]))


def _prepare(request: dict[str, Any], output: IO[bytes]) -> dict[str, Any]:
    sheet = _open(request)
    job = Job(**request["job"])
    if problems := Mapping.from_json(job.mapping).problems(sheet.columns):
        raise UnreadableFileError(" ".join(problems))
    preparer = Preparer(job)
    try:
        for block in sheet.blocks(preparer.cells.mapping.wanted):
            for batch in preparer.add(block, sheet.fraction_read()):
                batch.write(output)
    except UnreadableFileError:  # what was read before the damage is good
        preparer.take(sheet.fraction_read()).write(output)
        raise
    preparer.take(1.0).write(output)
    return {"done": True}


def _preview(request: dict[str, Any]) -> dict[str, Any]:
    sheet = _open(request)
    rows: list[list[Any]] = []
    for row in sheet.rows(sheet.columns):
        if not isinstance(row, BadRow):
            rows.append([_shown(cell) for cell in row[1]])
        if len(rows) >= PREVIEW_ROWS:
            break
    return {"format": sheet.format, "columns": sheet.columns, "rows": rows}


def _shown(cell: Any) -> Any:
    """A cell as JSON, with its type where JSON has it, cut where it is long."""
    if isinstance(cell, list | tuple):
        return [_shown(part) for part in cell[:100]]
    if cell is None or isinstance(cell, bool | int | float):
        return cell
    if isinstance(cell, datetime.datetime | datetime.date):
        return cell.isoformat()
    return str(cell)[:2000].encode(errors="replace").decode()


if __name__ == "__main__":
    main()
