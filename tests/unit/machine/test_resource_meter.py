"""What a run used: real processes, read as a service's are; and control groups, from files of our own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pytest_inferbench.deployment.disruptor import Disruptor
from pytest_inferbench.deployment.external import ExternalService
from pytest_inferbench.disruption import CpuPressure, SlowNetwork
from pytest_inferbench.events import Progress
from pytest_inferbench.loadgen import Target
from pytest_inferbench.machine.resource_meter import measured_resources

BUSY = "import time\nuntil = time.process_time() + {seconds}\nwhile time.process_time() < until: pass\n"


def _run(code: str, *, wait: bool = True) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-S", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    if wait:
        process.wait()
    return process


def test_children_that_end_within_the_block_are_the_generator() -> None:
    """Proves that the CPU time of a process that we wait for is counted, and nothing of a service that is not ours."""
    with measured_resources(None) as meter:
        assert meter.resources is None
        ended = _run(BUSY.format(seconds=0.2))
        ended.communicate()
    assert meter.resources is not None
    assert meter.resources.service is None
    assert meter.resources.generator is not None
    assert meter.resources.generator.cpu_seconds >= 0.2


def test_the_tree_is_counted_from_the_beginning_of_the_block() -> None:
    """Proves that a service's children count, what it used before does not, and a worker started meanwhile does."""
    code = (
        BUSY.format(seconds=0.5) + "import subprocess, sys\nprint('ready', flush=True)\ninput()\n"
        "with subprocess.Popen([sys.executable, '-S', '-c',"
        f" {BUSY.format(seconds=0.3)!r} + 'print(\"busy\", flush=True); input()'], stdin=subprocess.PIPE) as child:\n"
        "    input()\n    child.kill()\n"
    )
    service = _run(code, wait=False)
    assert service.stdin is not None
    assert service.stdout is not None
    try:
        assert service.stdout.readline() == b"ready\n"
        with measured_resources(lambda: service.pid) as meter:
            service.stdin.write(b"\n")
            service.stdin.flush()
            assert service.stdout.readline() == b"busy\n"
    finally:
        service.communicate(b"\n")
    assert meter.resources is not None
    used = meter.resources.service
    assert used is not None
    assert used.processes == 2
    assert used.cpu_seconds >= 0.25
    assert used.peak_rss_bytes > 1_000_000
    assert used.context_switches > 0


def test_a_service_that_is_gone_uses_nothing() -> None:
    """Proves that a process which died before the run, or is not to be seen, is no error."""
    gone = _run("pass")
    gone.communicate()
    with measured_resources(lambda: gone.pid) as meter:
        pass
    assert meter.resources is not None
    assert meter.resources.service is not None
    assert (meter.resources.service.cpu_seconds, meter.resources.service.peak_rss_bytes) == (0, 0)


@pytest.mark.parametrize(
    ("membership", "stat", "unit"),
    [
        ("0::/service\n", "service/cpu.stat", "throttled_usec {} \n"),
        ("3:cpu,cpuacct:/service\n1:name=systemd:/x\n", "cpu,cpuacct/service/cpu.stat", "throttled_time {}000\n"),
        ("3:cpu:/service\n0::/other\n", "cpu/service/cpu.stat", "throttled_time {}000\n"),
    ],
)
def test_throttling_is_read_where_control_groups_show_it(membership: str, stat: str, unit: str, tmp_path: Path) -> None:
    """Proves that both versions of control groups are read, as the difference over the run, in seconds."""
    own = tmp_path / "proc" / str(os.getpid())
    own.mkdir(parents=True)
    (own / "cgroup").write_text(membership)
    file = tmp_path / "cgroups" / stat
    file.parent.mkdir(parents=True)
    file.write_text("nr_periods 7\n" + unit.format(1_000_000))
    with measured_resources(os.getpid, proc=tmp_path / "proc", cgroups=tmp_path / "cgroups") as meter:
        file.write_text("nr_periods 9\n" + unit.format(3_500_000))
    assert meter.resources is not None
    assert meter.resources.service is not None
    assert meter.resources.service.throttled_seconds == 2.5


def test_without_control_groups_throttling_is_unknown(tmp_path: Path) -> None:
    """Proves that what cannot be read is None and not zero."""
    with measured_resources(os.getpid, proc=tmp_path, cgroups=tmp_path) as meter:
        pass
    assert meter.resources is not None
    assert meter.resources.service is not None
    assert meter.resources.service.throttled_seconds is None


def test_a_service_that_is_started_again_is_measured_again() -> None:
    """Proves that the tree is found by its main process of the moment: what the second one uses counts as well."""
    roots = [
        _run("input()", wait=False),
        _run(f"{BUSY.format(seconds=0.3)}print('busy', flush=True)\ninput()", wait=False),
    ]
    try:
        with measured_resources(lambda: roots[0].pid) as meter:
            roots.reverse()
            assert roots[0].stdout is not None
            assert roots[0].stdout.readline() == b"busy\n"
    finally:
        for process in roots:
            process.communicate(b"\n")
    assert meter.resources is not None
    assert meter.resources.service is not None
    assert meter.resources.service.cpu_seconds >= 0.29


@pytest.mark.asyncio
async def test_pressure_and_a_proxy_are_not_the_generators_usage() -> None:
    """Proves that the contexts of one run go together: a process that presses on the CPU beside a service, and whose
    end comes within the run, is counted neither as the generator's nor as the service's, and is gone afterwards."""
    service = ExternalService("http://127.0.0.1:9")
    disruptions = [CpuPressure(at=0, duration=0.2), SlowNetwork(at=0, duration=0.2, delay=0.01)]
    disruptor = Disruptor(disruptions, service)
    target = Target("http://127.0.0.1:9/")
    async with disruptor.in_path(target) as endpoint:
        assert endpoint.url != target.url
        start = disruptor.listen(lambda progress: None)
        async with disruptor.armed():
            with measured_resources(None) as meter:
                start(Progress(elapsed=0, total=1, scheduled=1, issued=0, completed=0, failed=0))
                while any(event.ended_ns is None for event in disruptor.events()):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
    assert meter.resources is not None
    assert meter.resources.generator is not None
    assert meter.resources.generator.cpu_seconds == pytest.approx(0, abs=1e-6)
    pressure, _ = disruptor.events()
    assert not psutil.pid_exists(int(pressure.detail.rpartition(" ")[2]))
