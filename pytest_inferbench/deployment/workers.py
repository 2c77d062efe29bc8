"""The processes that serve: found by who listens on the service's port, signalled, and waited for."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Sequence

import psutil

from pytest_inferbench.disruption import Workers
from pytest_inferbench.errors import DeploymentError

__all__ = ["choose", "find_workers", "send"]


def find_workers(pid: int, port: int) -> tuple[list[psutil.Process], bool]:
    """Return the workers of the service whose main process is ``pid``, oldest first, and whether it manages them.

    A worker listens on ``port``. A manager that hands its socket to its workers listens too, but does not serve:
    it is no worker as long as there are others. What only runs beside (a resource tracker, say) never listens.
    """
    try:
        main = psutil.Process(pid)
        family = [main, *main.children(recursive=True)]
    except psutil.Error:
        return [], False
    listening = [process for process in family if _listens(process, port)]
    others = [process for process in listening if process.pid != pid]
    return sorted(others or listening, key=_age), bool(others)


def choose(workers: Sequence[psutil.Process], wanted: Workers) -> list[psutil.Process]:
    """Return the first ``wanted`` of ``workers``. Raises DeploymentError if there are not so many."""
    if not workers or (wanted != "all" and wanted > len(workers)):
        raise DeploymentError(f"{wanted} workers should be disrupted, but only {len(workers)} were found")
    return list(workers if wanted == "all" else workers[:wanted])


def send(processes: Sequence[psutil.Process], number: signal.Signals) -> list[int]:
    """Signal each of ``processes`` that is still there; return the pids that were."""
    reached = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
            reached.append(process.pid)
    return reached


def _listens(process: psutil.Process, port: int) -> bool:
    with contextlib.suppress(psutil.Error):
        return any(
            connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr[1] == port
            for connection in process.net_connections("tcp")
        )
    return False


def _age(process: psutil.Process) -> tuple[float, int]:
    with contextlib.suppress(psutil.Error):
        return process.create_time(), process.pid
    return float("inf"), process.pid
