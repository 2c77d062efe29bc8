"""A worker process as the parent sees it: start it, send its job, read its results, end it. Blocking calls."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from pytest_inferbench.errors import LoadError
from pytest_inferbench.loadgen.messages import Message, receive, send

__all__ = ["WorkerProcess"]

_STDERR_LINES = 20
_EXIT_SECONDS = 10.0


class WorkerProcess:
    """One ``pytest_inferbench.loadgen.worker``, started by the constructor.

    Start it from a thread that lives as long as it shall: the kernel ends the worker when the *thread* that started
    it ends. :meth:`end` may be called from another thread; it makes a call that waits raise :class:`LoadError`.
    """

    def __init__(self) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  # closed by end()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pytest_inferbench.loadgen.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=_worker_environment(),
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    def prepare(self, job: Message) -> None:
        """Hand over ``job`` and return when the worker is ready to start. Raises LoadError if it ends instead."""
        with self._explained():
            send(self._in, job)
            receive(self._out)

    def go(self, start_ns: int | None, on_progress: Callable[[Message], None]) -> Message:
        """Let it start at ``start_ns`` (None: at once) and return its facts when the run is over.

        ``on_progress`` is called from this thread. Raises LoadError if the worker ends before the run does.
        """
        with self._explained():
            send(self._in, Message("go", {"start_ns": start_ns}))
            while (message := receive(self._out)).kind == "progress":
                on_progress(message)
        return message

    def end(self) -> None:
        """End the worker if it still runs and close its pipes: in this order, for a thread may be waiting on them."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(_EXIT_SECONDS)
        for pipe in (self._in, self._out):
            with contextlib.suppress(OSError):  # what was still to be flushed has nowhere to go
                pipe.close()

    def close(self) -> None:
        """End it, and discard its error output. Call it when no other thread uses this object any more."""
        self.end()
        self._stderr.close()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, OSError, ValueError) as error:
            # Its pipes closed first; let it end by itself, so that the true cause is reported.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_EXIT_SECONDS)
            raise LoadError(self._describe_end(error)) from None

    def _describe_end(self, error: Exception) -> str:
        returncode = self._process.poll()
        if returncode is not None and returncode < 0:
            end = f"was ended by {signal.Signals(-returncode).name}"
        else:
            end = "does not answer" if returncode is None else f"ended with status {returncode}"
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").splitlines()[-_STDERR_LINES:]
        printed = (
            "it printed:\n" + "\n".join(lines) if lines else f"it printed nothing ({type(error).__name__}: {error})"
        )
        return f"the load generator's process {end} before the run was over; nothing of the run is kept; {printed}"


def _worker_environment() -> dict[str, str]:
    """Return our environment without what would trace, slow or alter the worker, and with our import path.

    PYTHON* and coverage variables reach into every Python process; the worker is not under test.
    """
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV_CORE_", "COVERAGE_"))
    }
    if "PYTHONHOME" in os.environ:
        environment["PYTHONHOME"] = os.environ["PYTHONHOME"]
    environment["PYTHONPATH"] = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    return environment
