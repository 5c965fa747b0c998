"""Running child processes in the foreground: prefixed output, restarts, and an orderly end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from tagger_site.embedded.processes import die_with_parent

PATIENCE_SECONDS = 12  # for an orderly end; jobs are safe to be cut off, another worker takes them over
COLOURS = (36, 33, 32, 35, 34)
_printing = threading.Lock()


@dataclass
class Program:
    name: str
    command: list[str]
    niceness: int = 0
    process: subprocess.Popen[str] | None = None
    starts: list[float] = field(default_factory=list)  # the moments of the last minute


class Supervisor:
    """Starts programs, shows what they print, restarts what ends, and ends them all on Ctrl-C or SIGTERM."""

    def __init__(self, *, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment
        self.programs: list[Program] = []
        self._stopping = False
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, self._on_signal)

    def is_stopping(self) -> bool:
        return self._stopping

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self.is_stopping() and signum == signal.SIGINT:
            self._kill()  # somebody is in a hurry
        self._stopping = True

    def run(self, name: str, command: list[str]) -> int:
        """Run one program to its end; returns its exit code (negative when it was stopped)."""
        program = Program(name, command)
        self._spawn(program)
        assert program.process
        while (code := program.process.poll()) is None:
            if self.is_stopping():
                _end([program])
            time.sleep(0.05)
        return code

    def start(self, program: Program) -> None:
        self.programs.append(program)
        self._spawn(program)

    def watch(self, seconds: float | None = None) -> None:
        """Restart what ends, until a signal comes, a program cannot stay up, or the time is over."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while not self.is_stopping() and (deadline is None or time.monotonic() < deadline):
            for program in self.programs:
                if program.process and program.process.poll() is not None:
                    self._restart(program)
            time.sleep(0.2)

    def stop(self) -> None:
        self._stopping = True
        _end(self.programs)

    def _restart(self, program: Program) -> None:
        assert program.process
        _kill_group(program.process.pid)  # what a killed worker left behind
        program.starts = [moment for moment in program.starts if time.monotonic() - moment < 60]
        show(program.name, f"ended with code {program.process.returncode}; starting it again")
        if len(program.starts) >= 5:
            raise SystemExit(f"{program.name} keeps ending, see above.")
        time.sleep(min(len(program.starts), 3))
        if not self.is_stopping():
            self._spawn(program)

    def _spawn(self, program: Program) -> None:
        # Not SIGTERM: a worker would wait for a broker that stops at the same moment. Jobs are safe to be cut off.
        limit = die_with_parent(signal.SIGKILL)
        program.starts.append(time.monotonic())

        def prepare() -> None:
            if limit:
                limit()
            if program.niceness:
                os.nice(program.niceness)

        program.process = subprocess.Popen(  # noqa: S603
            program.command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C comes to us alone; we end the others in order
            preexec_fn=prepare,  # noqa: PLW1509  (prctl and nice only)
            text=True,
            errors="replace",
        )
        colour = COLOURS[len(self.programs) % len(COLOURS)]
        threading.Thread(target=_copy_output, args=(program, program.process, colour), daemon=True).start()

    def _kill(self) -> None:
        for program in self.programs:
            if program.process:
                _kill_group(program.process.pid)


def show(name: str, line: str, colour: int = 0) -> None:
    """One line of output, behind the name of who says it."""
    prefix = f"{name:<7}|"
    if colour and sys.stdout.isatty():
        prefix = f"\033[{colour}m{prefix}\033[0m"
    with _printing, contextlib.suppress(BrokenPipeError):
        print(prefix, line, flush=True)  # noqa: T201


def _copy_output(program: Program, process: subprocess.Popen[str], colour: int) -> None:
    assert process.stdout
    for line in filter(str.strip, process.stdout):
        show(program.name, line.rstrip(), colour)


def _end(programs: list[Program]) -> None:
    """Ask all to end, wait, then kill what is left of them and of their children."""
    running = [program.process for program in programs if program.process]
    for process in running:
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + PATIENCE_SECONDS
    for process in running:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
        _kill_group(process.pid)
        process.wait()


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
