"""Which machine this is, and what runs on it."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pytest_inferbench.machine import probe
from pytest_inferbench.machine.probe import describe_environment, free_memory

INTEL = """
processor\t: 0
cpu family\t: 6
model\t\t: 85
model name\t: Intel(R) Xeon(R) Processor @ 2.50GHz
stepping\t: 7
processor\t: 1
cpu family\t: 6
model\t\t: 85
model name\t: Intel(R) Xeon(R) Processor @ 2.50GHz
"""
ARM = """
processor\t: 0
BogoMIPS\t: 243.75
CPU implementer\t: 0x41
CPU architecture: 8
CPU part\t: {part}
"""


@pytest.fixture
def cpuinfo(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let /proc/cpuinfo hold a text, or be missing (None); commands say what a table holds."""
    read = Path.read_text

    def use(text: str | None, said: dict[str, str] | None = None) -> None:
        def read_text(self: Path, *args: Any, **kwargs: Any) -> str:
            if str(self) != "/proc/cpuinfo":
                return read(self, *args, **kwargs)
            if text is None:
                raise FileNotFoundError
            return text

        def run(command: tuple[str, ...], **options: Any) -> subprocess.CompletedProcess[str]:
            if said is None or command[0] not in said:
                raise FileNotFoundError
            return subprocess.CompletedProcess(command, 0, stdout=said[command[0]], stderr="")

        monkeypatch.setattr(Path, "read_text", read_text)
        monkeypatch.setattr(probe.subprocess, "run", run)
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
        monkeypatch.setattr(platform, "machine", lambda: "aarch64")
        monkeypatch.setattr(platform, "processor", lambda: "arm")

    return use


def test_the_machine_is_cpu_model_and_usable_cpus(cpuinfo: Any, tmp_path: Path) -> None:
    """Family and model tell CPUs apart whose name a hypervisor shortened; the name is fit for a folder."""
    cpuinfo(INTEL)
    found = describe_environment(tmp_path)
    assert found.cpu == "Intel(R) Xeon(R) Processor @ 2.50GHz family 6 model 85"
    assert found.machine == "intel-r-xeon-r-processor-2-50ghz-family-6-model-85-2cpu"
    assert found.cpus == 2


def test_another_model_is_another_machine(cpuinfo: Any, tmp_path: Path) -> None:
    """The same name with another model number is not the machine that a baseline was recorded on."""
    cpuinfo(INTEL)
    one = describe_environment(tmp_path).machine
    cpuinfo(INTEL.replace("85", "106"))
    assert describe_environment(tmp_path).machine != one


def test_fewer_cpus_are_another_machine(cpuinfo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts are the CPUs that this process may use, not those that are built in."""
    cpuinfo(INTEL)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3}, raising=False)
    assert describe_environment(tmp_path).machine.endswith("-1cpu")


def test_arm_cpus_are_told_apart_though_they_have_no_name(cpuinfo: Any, tmp_path: Path) -> None:
    """Linux on ARM gives no model name: implementer and part number are what tells the generations apart."""
    machines = []
    for part in ("0xd0c", "0xd40"):
        cpuinfo(ARM.format(part=part))
        machines.append(describe_environment(tmp_path).machine)
    assert machines == ["aarch64-implementer-0x41-part-0xd0c-2cpu", "aarch64-implementer-0x41-part-0xd40-2cpu"]


def test_without_cpuinfo_the_system_is_asked(cpuinfo: Any, tmp_path: Path) -> None:
    """macOS tells the chip through sysctl; where nobody does, the architecture has to do."""
    cpuinfo(None, {"sysctl": "Apple M2 Pro\n"})
    assert describe_environment(tmp_path).machine == "apple-m2-pro-2cpu"
    cpuinfo(None)
    assert describe_environment(tmp_path).machine == "arm-2cpu"


def test_the_revision_is_gits_word_if_it_has_one(cpuinfo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commit and dirtiness as git describes them; no git, no repository and a git that hangs are all no revision."""
    cpuinfo(INTEL, {"git": "0123456789ab-dirty\n"})
    assert describe_environment(tmp_path).revision == "0123456789ab-dirty"
    cpuinfo(INTEL)
    assert describe_environment(tmp_path).revision is None

    def fail(command: tuple[str, ...], **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 128, stdout="half a word", stderr="fatal: not a git repository")

    def hang(command: tuple[str, ...], *, timeout: float, **options: Any) -> subprocess.CompletedProcess[str]:
        raise subprocess.TimeoutExpired(command, timeout)

    for run in (fail, hang):
        monkeypatch.setattr(probe.subprocess, "run", run)
        assert describe_environment(tmp_path).revision is None


def test_versions_that_may_matter_are_recorded_if_installed(
    cpuinfo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not installed is left out, not recorded as something."""
    cpuinfo(INTEL)

    def version(name: str) -> str:
        if name in ("numpy", "torch"):
            return f"{name}-1"
        raise probe.importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(probe.importlib.metadata, "version", version)
    assert describe_environment(tmp_path).packages == {"torch": "torch-1", "numpy": "numpy-1"}


def test_the_files_that_pin_dependencies_are_digested_up_to_the_repository(tmp_path: Path) -> None:
    """The project's own and those of the folders around it, the nearest of a name, but nothing outside."""
    project = tmp_path / "outside" / "repository" / "service"
    project.mkdir(parents=True)
    (project.parent / ".git").mkdir()
    (project / "uv.lock").write_text("one")
    (project.parent / "uv.lock").write_text("two")
    (project.parent / "requirements-dev.txt").write_text("three")
    (tmp_path / "outside" / "poetry.lock").write_text("four")
    found = describe_environment(project).locks
    assert set(found) == {"uv.lock", "requirements-dev.txt"}
    before = describe_environment(project).to_dict()
    (project / "uv.lock").write_text("five")
    assert describe_environment(project).differences(before) == ("uv.lock changed",)


def test_the_limit_of_a_container_bounds_the_free_memory(tmp_path: Path) -> None:
    """What is left below the limit of the control group counts where it is less than the machine has; "max" is none."""
    machine = free_memory(tmp_path / "nothing")
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    assert free_memory(tmp_path) == 600_000
    (tmp_path / "memory.current").write_text("1400000\n")
    assert free_memory(tmp_path) == 0
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory(tmp_path) == pytest.approx(machine, rel=0.5)
