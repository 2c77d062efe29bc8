"""Which workers of a service on this machine have had a connection, so that one that stays cold is noticed."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from pytest_inferbench.deployment.workers import find_workers

__all__ = ["ConnectedWorkers", "watched_connections"]

_INTERVAL_SECONDS = 0.02
_LOOKS_PER_SEARCH = 25


class ConnectedWorkers:
    """What :func:`watched_connections` sees: ``connected``, the pids of workers that have had a connection.

    ``expected``: how many there should be: the number of workers that the profile deploys, or of the processes that
    can take a connection where these are fewer (its workers may be threads); 0 where that cannot be known.
    """

    def __init__(self, deployed: int) -> None:
        self._deployed = deployed
        self._workers: list[psutil.Process] = []
        self.connected: set[int] = set()

    @property
    def expected(self) -> int:
        """How many workers should have connections."""
        return min(self._deployed, len(self._workers))

    @property
    def complete(self) -> bool:
        """Whether as many as expected have had one."""
        return len(self.connected) >= self.expected

    def search(self, pid: int, port: int) -> None:
        """Find the workers of the service whose main process is ``pid``: some may start later than others."""
        self._workers = find_workers(pid, port)[0]

    def look(self, port: int) -> None:
        """Note which of them have a connection just now. What cannot be read is left out."""
        for worker in self._workers:
            try:
                connections = worker.net_connections("tcp")
            except psutil.Error:
                continue
            if any(one.status == psutil.CONN_ESTABLISHED and one.laddr.port == port for one in connections):
                self.connected.add(worker.pid)


@contextmanager
def watched_connections(pid: int, port: int, deployed: int) -> Iterator[ConnectedWorkers]:
    """Look again and again, in a thread, until the block ends or each of the ``deployed`` workers had a connection."""
    workers = ConnectedWorkers(deployed)
    workers.search(pid, port)
    ended = threading.Event()

    def watch() -> None:
        for looks in itertools.count(1):
            workers.look(port)
            if len(workers.connected) >= deployed or ended.wait(_INTERVAL_SECONDS):
                return
            if looks % _LOOKS_PER_SEARCH == 0:
                workers.search(pid, port)

    thread = threading.Thread(target=watch, name="inferbench-connections", daemon=True)
    thread.start()
    try:
        yield workers
    finally:
        ended.set()
        thread.join()
