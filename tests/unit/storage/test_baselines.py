"""The baseline store: what goes in comes out, whole or not at all, and hostile files are refused."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_inferbench.errors import BaselineError, NewerBaselineError
from pytest_inferbench.runs.run import Failure, Run
from pytest_inferbench.storage import baseline_format
from pytest_inferbench.storage.baselines import FORMAT_VERSION, Baseline, BaselineStore

KEY = {"profile": "optimized", "machine": "cpu-2cpu", "test": "benchmarks/test_a.py::test_x[1/2]"}


def run(seed: int = 3) -> Run:
    """Four requests: answered, answered 500, unfinished, never issued."""
    return Run(
        scheduled_ns=np.array([10_000, 20_000, 30_000, 40_000]) * 1000 + 7_000_000_000,
        issued_ns=np.array([10_001, 20_001, 30_001, -1]) * 1000 + np.array([7, 7, 7, 0]) * 1_000_000_000,
        completed_ns=np.array([7_010_012_345, 7_020_500_499, -1, -1]),
        status=np.array([200, 500, 0, 0]),
        seed=seed,
        digest="abc",
        payload_digest="def",
    )


def baseline(name: str = "steady", **changes: Any) -> Baseline:
    facts = {"workload": {"name": name, "rate": 5.0}, "environment": {"cpu": "x"}, "recorded": "2026-01-02T03:04:05"}
    return Baseline(runs=(run(3), run(4)), **{**facts, **changes})


@pytest.fixture
def store(tmp_path: Path) -> BaselineStore:
    return BaselineStore(tmp_path / "baselines")


def test_a_round_trip_keeps_what_comparisons_need(store: BaselineStore) -> None:
    """Latencies to the microsecond, statuses, failures, seeds and digests come back, unfinished ones as such."""
    store.update(baseline(), **KEY)
    loaded = store.load(**KEY)["steady"]
    assert loaded.workload == {"name": "steady", "rate": 5.0}
    assert (loaded.environment, loaded.recorded) == ({"cpu": "x"}, "2026-01-02T03:04:05")
    for before, after in zip((run(3), run(4)), loaded.runs, strict=True):
        assert (after.seed, after.digest, after.payload_digest) == (before.seed, before.digest, before.payload_digest)
        assert after.latency_ns.tolist() == [12_000, 500_000, -1, -1]
        assert after.status.tolist() == before.status.tolist()
        assert np.asarray(after.failure).tolist() == [0, Failure.STATUS, Failure.UNFINISHED, Failure.UNISSUED]
        assert np.isinf(after.latencies).tolist() == [False, True, True, True]
        assert np.diff(after.scheduled_ns).tolist() == np.diff(before.scheduled_ns).tolist()


def test_delays_and_server_timing_come_back(store: BaselineStore) -> None:
    """How late requests left, to the microsecond, and what the service reported of itself, absent where it did not."""
    facts = {name: getattr(run(), name) for name in ("scheduled_ns", "issued_ns", "completed_ns", "status")}
    timed = Run(**facts, server_timing={"infer": np.array([1.5, 0, np.nan, np.nan], np.float32)})
    store.update(replace(baseline(), runs=(timed,)), **KEY)
    (loaded,) = store.load(**KEY)["steady"].runs
    assert loaded.issue_delay_ns.tolist() == [1000, 1000, 1000, -1]
    assert np.array_equal(loaded.server_timing["infer"], np.array([1.5, 0, np.nan, np.nan]), equal_nan=True)


def test_sizes_and_the_cost_curve_come_back(store: BaselineStore) -> None:
    """The size of every payload, which the curve is fitted to again, and the curve as it was, for whoever reads it."""
    sized = replace(run(), sizes=np.array([3, 500, 7, 12]))
    curve = {"slope": 0.0002, "slope_interval": [0.00019, 0.00021], "runs": 1, "points": []}
    path = store.update(replace(baseline(), runs=(sized,), curve=curve), **KEY)
    loaded = store.load(**KEY)["steady"]
    (found,) = loaded.runs
    assert found.sizes is not None
    assert found.sizes.tolist() == [3, 500, 7, 12]
    assert loaded.curve == curve
    assert '"size": [3,500,7,12]' in path.read_text(encoding="utf-8")


def test_the_pace_of_the_machine_comes_back(store: BaselineStore) -> None:
    """Beside each run, in microseconds, and never 0; absent where it was not measured."""
    made = (replace(run(), calibration_ns=21_345_600), replace(run(), calibration_ns=1), run())
    store.update(replace(baseline(), runs=made), **KEY)
    assert [found.calibration_ns for found in store.load(**KEY)["steady"].runs] == [21_346_000, 1000, None]


def test_a_file_of_version_1_is_read_and_becomes_one_of_this_version(store: BaselineStore) -> None:
    """Baselines from before sizes were stored are as good as before; the next update writes what this version does."""
    path = store.path(**KEY)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(document(lambda d: d.update(version=1))))
    loaded = store.load(**KEY)["steady"]
    assert (loaded.runs[0].sizes, loaded.curve) == (None, None)
    store.update(baseline("bursty"), **KEY)
    assert json.loads(path.read_text(encoding="utf-8"))["version"] == FORMAT_VERSION
    assert set(store.load(**KEY)) == {"steady", "bursty"}


def test_absurd_server_timing_does_not_cost_the_recording(store: BaselineStore) -> None:
    """A service that reports negative, infinite or astronomic durations is recorded without them."""
    facts = {name: getattr(run(), name) for name in ("scheduled_ns", "issued_ns", "completed_ns", "status")}
    timed = Run(**facts, server_timing={"infer": np.array([-5, np.inf, 1e30, 2], np.float32)})
    store.update(replace(baseline(), runs=(timed,)), **KEY)
    (loaded,) = store.load(**KEY)["steady"].runs
    assert np.array_equal(loaded.server_timing["infer"], np.array([np.nan, np.nan, np.nan, 2]), equal_nan=True)


def test_writing_what_was_loaded_changes_no_byte(store: BaselineStore) -> None:
    """Recording the same facts again leaves the file as it is: no diff without a difference."""
    path = store.update(baseline(), **KEY)
    before = path.read_bytes()
    store.update(store.load(**KEY)["steady"], **KEY)
    assert path.read_bytes() == before


def test_another_workload_of_the_same_test_is_kept(store: BaselineStore) -> None:
    """An update replaces its own workload's entry only."""
    store.update(baseline("steady"), **KEY)
    store.update(baseline("bursty"), **KEY)
    store.update(baseline("steady", recorded="later"), **KEY)
    loaded = store.load(**KEY)
    assert {name: entry.recorded for name, entry in loaded.items()} == {
        "steady": "later",
        "bursty": "2026-01-02T03:04:05",
    }


def test_the_file_is_text_that_can_be_read_in_a_diff(store: BaselineStore) -> None:
    """One line per list of numbers, whole microseconds, a newline at the end, and no stray file beside it."""
    path = store.update(baseline(), **KEY)
    text = path.read_text(encoding="utf-8")
    assert '"latency_us": [12,500,-1,-1]' in text
    assert text.endswith("}\n")
    assert len(text.splitlines()) < 50
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_nothing_stored_is_no_error(store: BaselineStore) -> None:
    """A folder that does not exist holds no baselines, and no machine has one."""
    assert store.load(**KEY) == {}
    assert store.machines(profile="optimized", test=KEY["test"]) == ()


def test_machines_with_a_baseline_are_found(store: BaselineStore) -> None:
    """Brackets in a test's name are not patterns: only files of that very test count."""
    store.update(baseline(), **KEY)
    store.update(baseline(), **{**KEY, "machine": "other"})
    store.update(baseline(), **{**KEY, "machine": "third", "test": "benchmarks/test_a.py::test_x1"})
    assert store.machines(profile="optimized", test=KEY["test"]) == ("cpu-2cpu", "other")


@pytest.mark.parametrize("crash", [KeyboardInterrupt, MemoryError, OSError(28, "No space left on device")])
def test_a_crash_before_the_rename_leaves_the_old_file_whole(
    store: BaselineStore, monkeypatch: pytest.MonkeyPatch, crash: type[BaseException] | OSError
) -> None:
    """Between writing and renaming anything may happen: the old file stays, and no temporary one remains."""
    path = store.update(baseline(), **KEY)
    before = path.read_bytes()

    def replace(self: Path, target: Path) -> Path:
        raise crash

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises((KeyboardInterrupt, MemoryError, BaselineError)):
        store.update(baseline(recorded="later"), **KEY)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_the_new_content_is_complete_before_it_gets_the_name(
    store: BaselineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is renamed is a whole document already, in the same folder as its target."""
    seen: list[tuple[Path, dict[str, Any]]] = []
    rename = Path.replace

    def replace(self: Path, target: Path) -> Path:
        seen.append((self, json.loads(self.read_text())))
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    path = store.update(baseline(), **KEY)
    ((temporary, document),) = seen
    assert temporary.parent == path.parent
    assert set(document["workloads"]) == {"steady"}


def test_two_writers_at_once_lose_nothing(store: BaselineStore) -> None:
    """Threads that record different workloads of one test all end up in the file."""
    names = [f"w{number}" for number in range(12)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda name: store.update(baseline(name), **KEY), names))
    assert sorted(store.load(**KEY)) == sorted(names)


@pytest.mark.parametrize(
    "name", ["..", "../../etc/passwd", "/etc/passwd", "a/../../b", "", ".hidden", "x" * 5000, "ü☃"]
)
def test_no_name_leaves_the_folder(store: BaselineStore, name: str) -> None:
    """Whatever profile, machine and test are called, the file lies two levels below the root."""
    path = store.path(profile=name, machine=name, test=name)
    assert path.relative_to(store.root).parts == (path.parts[-3], path.parts[-2], path.parts[-1])
    assert ".." not in path.parts
    assert all(0 < len(part) < 200 and not part.startswith(".") for part in path.parts[-3:])


def test_different_tests_have_different_files(store: BaselineStore) -> None:
    """Long names that differ only at their end, and names that differ only in unsafe characters, do not collide."""
    long = "test_" + "x" * 300
    names = [f"{long}[a]", f"{long}[b]", "t.py::a b", "t.py::a::b", "t.py::a/b", "T.py::a b", "ü", "ö"]
    paths = {store.path(profile="p", machine="m", test=name) for name in names}
    assert len(paths) == len(names)


def nested(depth: int) -> list[Any]:
    """Lists in lists: few enough for the JSON reader, too many for ``repr``."""
    outer: list[Any] = []
    for _ in range(depth):
        outer = [outer]
    return outer


def document(change: Callable[[dict[str, Any]], object] | None = None) -> dict[str, Any]:
    one = {
        "seed": 1,
        "digest": "a",
        "payload_digest": "b",
        "scheduled_us": [0, 10],
        "latency_us": [5, -1],
        "status": [200, 0],
        "failure": [0, 2],
    }
    entry = {"workload": {"name": "steady"}, "recorded": "x", "environment": {}, "runs": [one]}
    whole = {"format": "pytest-inferbench-baseline", "version": FORMAT_VERSION, "workloads": {"steady": entry}}
    if change is not None:
        change(whole)
    return whole


def entry_of(whole: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = whole["workloads"]["steady"]
    return found


def run_of(whole: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = entry_of(whole)["runs"][0]
    return found


def test_the_document_that_the_hostile_ones_are_made_of_is_fine(store: BaselineStore) -> None:
    """The refusals below are due to what each of them changes."""
    path = store.path(**KEY)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(document()))
    assert len(store.load(**KEY)["steady"].runs) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(workloads=[]),
        lambda d: d.update(workloads={"steady": 1}),
        lambda d: d.pop("workloads"),
        lambda d: entry_of(d).update(runs=[]),
        lambda d: entry_of(d).update(runs={"a": 1}),
        lambda d: entry_of(d).update(runs=[1]),
        lambda d: entry_of(d).update(workload=None),
        lambda d: entry_of(d).pop("environment"),
        lambda d: run_of(d).pop("status"),
        lambda d: run_of(d).update(latency_us=[5]),
        lambda d: run_of(d).update(latency_us=[5, float("nan")]),
        lambda d: run_of(d).update(latency_us=[5, float("inf")]),
        lambda d: run_of(d).update(latency_us=[5, -2]),
        lambda d: run_of(d).update(latency_us=[5, 1.5]),
        lambda d: run_of(d).update(latency_us=[5, "1"]),
        lambda d: run_of(d).update(latency_us=[5, True]),
        lambda d: run_of(d).update(latency_us=[5, 10**30]),
        lambda d: run_of(d).update(latency_us=[5, 2**53 - 1]),
        lambda d: run_of(d).update(scheduled_us=[2**53 - 1, 2**53 - 1]),
        lambda d: run_of(d).update(scheduled_us=[10, 0]),
        lambda d: run_of(d).update(scheduled_us=[-1, 0]),
        lambda d: run_of(d).update(latency_us="55"),
        lambda d: run_of(d).update(status=[200, 1000]),
        lambda d: run_of(d).update(status=[200, -1]),
        lambda d: run_of(d).update(failure=[0, 99]),
        lambda d: run_of(d).update(failure=[0, -1]),
        lambda d: run_of(d).update(latency_us=[-1, -1]),  # the first one succeeded
        lambda d: run_of(d).update(issue_delay_us=[1]),
        lambda d: run_of(d).update(issue_delay_us=[1, -2]),
        lambda d: run_of(d).update(issue_delay_us=None),
        lambda d: run_of(d).update(size=[1]),
        lambda d: run_of(d).update(size=[1, -1]),
        lambda d: run_of(d).update(size=[1, 10**12]),
        lambda d: run_of(d).update(size=None),
        lambda d: run_of(d).update(calibration_us=0),
        lambda d: run_of(d).update(calibration_us=1.5),
        lambda d: run_of(d).update(calibration_us=10**13),
        lambda d: entry_of(d).update(curve=[]),
        lambda d: entry_of(d).update(curve={"slope": float("inf")}),
        lambda d: run_of(d).update(server_timing_us=[]),
        lambda d: run_of(d).update(server_timing_us={"infer": [1]}),
        lambda d: run_of(d).update(server_timing_us={"infer": [1, 1.5]}),
        lambda d: run_of(d).update(server_timing_us={"infer": [1, 10**13]}),
        lambda d: run_of(d).update(server_timing_us={"in\x1bfer": [1, 1]}),
        lambda d: run_of(d).update(server_timing_us={str(number): [1, 1] for number in range(51)}),
        lambda d: entry_of(d).update(selfcheck=nested(3)),
        lambda d: entry_of(d).update(selfcheck={"noise": nested(900)}),
        lambda d: run_of(d).update(seed=-1),
        lambda d: run_of(d).update(seed=2**200),
        lambda d: run_of(d).update(digest="a" * 20_000),
        lambda d: entry_of(d).update(recorded=[1]),
        lambda d: entry_of(d).update(recorded="\x1b[2J"),
        lambda d: entry_of(d).update(environment={"cpu": nested(900)}),
        lambda d: entry_of(d).update(environment={"cpu": float("nan")}),
        lambda d: entry_of(d).update(environment={"cpu": "x" * 20_000}),
        lambda d: entry_of(d).update(environment={"packages": {"torch\n": "1"}}),
        lambda d: entry_of(d).update(environment={str(number): 0 for number in range(1001)}),
        lambda d: entry_of(d).update(workload={"name": "steady", "rate": nested(900)}),
        lambda d: d.update(test=3),
        lambda d: d.update(workloads={"steady\x07": entry_of(d)}),
        lambda d: d.update(version=nested(900)),
        lambda d: run_of(d).update(seed="1"),
        lambda d: run_of(d).update(seed=1.0),
        lambda d: run_of(d).update(digest=None),
        lambda d: run_of(d).update(scheduled_us=[], latency_us=[], status=[], failure=[]),
    ],
)
def test_a_file_with_unusable_values_is_refused_with_its_path(
    store: BaselineStore, change: Callable[[dict[str, Any]], object]
) -> None:
    """Wrong types, NaN, impossible numbers and missing keys: one error with path and way out, never a bad figure."""
    path = store.path(**KEY)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(document(change)))
    with pytest.raises(BaselineError, match="--update-baselines") as caught:
        store.load(**KEY)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not whole JSON"),
        (b'{"format": "pytest-inferbench-baseline", "version": 1, "workl', "is not whole JSON"),
        (b"\xff\xfe\x00\x01", "is not whole JSON"),
        (b"[" * 200_000, "is not whole JSON"),
        (b"[]", "is not a baseline of this plugin"),
        (b'{"machine_info": {}}', "is not a baseline of this plugin"),
        (b'{"format": "pytest-inferbench-baseline", "version": 3}', "format version 3.*upgrade pytest-inferbench"),
        (b'{"format": "pytest-inferbench-baseline", "version": 0}', "format version 0.*record it again"),
        (b'{"format": "pytest-inferbench-baseline", "version": true}', "format version True"),
        (b'{"format": "pytest-inferbench-baseline", "version": 1.0}', "format version 1.0"),
        (b'{"format": "pytest-inferbench-baseline"}', "format version None.*record it again"),
        (b'{"a": ' + b"1" * 10_000 + b"}", "is not whole JSON"),
    ],
)
def test_a_file_that_is_no_baseline_is_told_apart(store: BaselineStore, content: bytes, message: str) -> None:
    """Truncated, binary, nested beyond reason, somebody else's or of another version: each is told as what it is."""
    path = store.path(**KEY)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(BaselineError, match=message):
        store.load(**KEY)


def test_a_huge_file_is_not_read(store: BaselineStore) -> None:
    """A file far beyond any baseline (sparse here) is refused by its size alone."""
    path = store.path(**KEY)
    path.parent.mkdir(parents=True)
    with path.open("wb") as stream:
        stream.truncate(2**40)
    with pytest.raises(BaselineError, match="is larger than 64 MiB"):
        store.load(**KEY)


def test_recording_replaces_a_damaged_file(store: BaselineStore) -> None:
    """An update is the way out of every damage."""
    path = store.path(**KEY)
    path.parent.mkdir(parents=True)
    path.write_text("{")
    store.update(baseline(), **KEY)
    assert set(store.load(**KEY)) == {"steady"}


def test_recording_does_not_destroy_what_a_newer_version_wrote(store: BaselineStore) -> None:
    """A file of a future version is not overwritten: another checkout still needs it."""
    path = store.path(**KEY)
    path.parent.mkdir(parents=True)
    text = json.dumps({"format": "pytest-inferbench-baseline", "version": 99, "workloads": {}})
    path.write_text(text)
    with pytest.raises(NewerBaselineError, match="upgrade pytest-inferbench"):
        store.update(baseline(), **KEY)
    assert path.read_text() == text
    with pytest.raises(NewerBaselineError, match="upgrade pytest-inferbench"):
        store.load(**KEY)


def test_a_folder_that_cannot_be_made_names_the_way_out(tmp_path: Path) -> None:
    """An error of the file system becomes one that says what is safe and what to do."""
    (tmp_path / "file").write_text("")
    with pytest.raises(BaselineError, match=r"cannot write the baseline .*--inferbench-storage"):
        BaselineStore(tmp_path / "file" / "below").update(baseline(), **KEY)


def test_texts_that_look_like_placeholders_survive(store: BaselineStore) -> None:
    """The writer's own trick with placeholders does not confuse a text of the user's."""
    store.update(baseline("@@0@@", environment={"cpu": '"@@1@@"', "note": "@@0@@"}), **KEY)
    loaded = store.load(**KEY)["@@0@@"]
    assert loaded.environment == {"cpu": '"@@1@@"', "note": "@@0@@"}


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_file_is_not_read(store: BaselineStore, kind: str) -> None:
    """A pipe that nobody writes to, a device that never ends and a folder are refused, and none of them blocks."""
    path = store.path(**KEY)
    path.parent.mkdir(parents=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with pytest.raises(BaselineError, match="is not a regular file"):
        store.load(**KEY)
    (entry,) = store.entries()
    assert "is not a regular file" in entry.problem


def test_a_file_that_cannot_be_opened_is_an_error_and_is_not_replaced(store: BaselineStore) -> None:
    """What cannot be read (here: a circle of links) may hold others' entries: no update takes it for damaged."""
    path = store.path(**KEY)
    path.parent.mkdir(parents=True)
    path.symlink_to(path)
    with pytest.raises(BaselineError, match="cannot be read"):
        store.load(**KEY)
    with pytest.raises(BaselineError, match="cannot write"):
        store.update(baseline(), **KEY)
    assert path.is_symlink()


@pytest.mark.parametrize("level", [1, 2])
def test_a_link_does_not_lead_results_out_of_the_folder(store: BaselineStore, tmp_path: Path, level: int) -> None:
    """A folder in the storage that is a link to elsewhere is not followed by an update, nor by a removal."""
    outside = tmp_path / "outside"
    link = store.path(**KEY).parents[level - 1]
    link.parent.mkdir(parents=True)
    outside.mkdir()
    link.symlink_to(outside)
    with pytest.raises(BaselineError, match=r"lies outside of .*--inferbench-storage"):
        store.update(baseline(), **KEY)
    assert list(outside.iterdir()) == []
    victim = outside / "cpu-2cpu" / "x.json" if level == 2 else outside / "x.json"
    victim.parent.mkdir(exist_ok=True)
    victim.write_text("{")
    (entry,) = store.entries()
    with pytest.raises(BaselineError, match="lies outside of"):
        store.remove(entry)
    assert victim.exists()


def test_a_file_that_is_a_link_is_replaced_not_followed(store: BaselineStore, tmp_path: Path) -> None:
    """An update makes a file of a link; what the link led to stays as it was."""
    path = store.path(**KEY)
    path.parent.mkdir(parents=True)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path.symlink_to(victim)
    store.update(baseline(), **KEY)
    assert victim.read_text() == "precious"
    assert not path.is_symlink()


def test_the_storage_itself_may_be_a_link(tmp_path: Path) -> None:
    """Where the folder as a whole lies is the user's choice."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "baselines").symlink_to(tmp_path / "elsewhere")
    path = BaselineStore(tmp_path / "baselines").update(baseline(), **KEY)
    assert path.resolve().is_relative_to(tmp_path / "elsewhere")


def test_nothing_is_written_that_could_not_be_read_again(store: BaselineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A baseline larger than what is read, or with a number that is none, is refused; the old file stays."""
    path = store.update(baseline(), **KEY)
    before = path.read_bytes()
    with pytest.raises(BaselineError, match=r"cannot write the baseline .*measurement itself is complete"):
        store.update(baseline(environment={"cpu": float("inf")}), **KEY)
    with pytest.raises(BaselineError, match="it has a value that is not JSON"):
        store.update(baseline(environment={"cpu": np.int64(3)}), **KEY)
    monkeypatch.setattr(baseline_format, "MAX_BYTES", len(before) + 10)
    with pytest.raises(BaselineError, match=r"it is larger than .*shorter runs or fewer repeats"):
        store.update(baseline("bursty"), **KEY)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_an_update_leaves_the_lines_of_other_entries_as_they_are(store: BaselineStore) -> None:
    """The diff of an update shows what was measured again, and nothing else."""
    store.update(baseline("first"), **KEY)
    before = store.update(baseline("second"), **KEY).read_text().splitlines()
    after = store.update(baseline("second", recorded="later"), **KEY).read_text().splitlines()
    assert [(old, new) for old, new in zip(before, after, strict=True) if old != new] == [
        ('   "recorded": "2026-01-02T03:04:05",', '   "recorded": "later",')
    ]


def test_a_draft_left_by_a_killed_process_is_taken_over(store: BaselineStore) -> None:
    """What a killed update left behind neither blocks nor shines through the next one."""
    path = store.path(**KEY)
    path.parent.mkdir(parents=True)
    draft = path.with_name(f".{path.name}.new")
    draft.write_text("x" * 100_000)
    store.update(baseline(), **KEY)
    assert set(store.load(**KEY)) == {"steady"}
    assert not draft.exists()


def test_an_update_that_slips_in_between_opening_and_locking_is_not_lost(
    store: BaselineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The draft that was opened has become the file itself by the time it is locked: it is left alone."""
    lock = fcntl.flock

    def flock(descriptor: int, operation: int) -> None:
        monkeypatch.undo()
        store.update(baseline("bursty"), **KEY)
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    store.update(baseline("steady"), **KEY)
    assert set(store.load(**KEY)) == {"steady", "bursty"}


def test_an_update_does_not_wait_for_ever(store: BaselineStore) -> None:
    """While another process updates the file an update waits, but gives up with a message in the end."""
    path = store.path(**KEY)
    path.parent.mkdir(parents=True)
    draft = path.with_name(f".{path.name}.new")
    with draft.open("w") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(BaselineError, match="another process has been updating it for 0 s"):
            BaselineStore(store.root, patience=0).update(baseline(), **KEY)
        assert draft.exists(), "the draft is its holder's"
        assert not path.exists()


def test_entries_lists_everything_stored_and_survives_broken_files(store: BaselineStore) -> None:
    """Every workload of every file, in order; a damaged file and one of the future are entries that say so."""
    other = {**KEY, "profile": "baseline", "test": "t.py::test_b"}
    store.update(baseline("steady"), **KEY)
    store.update(baseline("bursty"), **KEY)
    store.update(baseline("steady"), **other)
    damaged = store.path(**{**other, "test": "t.py::test_damaged"})
    damaged.write_text("{")
    newer = store.path(**{**other, "test": "t.py::test_newer"})
    newer.write_text('{"format": "pytest-inferbench-baseline", "version": 3}')
    (damaged.parent / ".hidden.json.new").write_text("")
    (store.root / "README").write_text("not ours")
    entries = list(store.entries())
    assert [(e.profile, e.machine, e.test, e.workload) for e in entries] == [
        ("baseline", "cpu-2cpu", "t.py::test_b", "steady"),
        ("baseline", "cpu-2cpu", "t.py--test_damaged", None),
        ("baseline", "cpu-2cpu", "t.py--test_newer", None),
        ("optimized", "cpu-2cpu", KEY["test"], "steady"),
        ("optimized", "cpu-2cpu", KEY["test"], "bursty"),
    ]
    assert [entry.path for entry in entries[1:4]] == [damaged, newer, store.path(**KEY)]
    assert ["is not whole JSON" in e.problem for e in entries] == [False, True, False, False, False]
    assert "upgrade pytest-inferbench" in entries[2].problem
    assert list(BaselineStore(store.root / "nowhere").entries()) == []


def test_a_file_under_another_name_is_listed_under_the_name_it_has(store: BaselineStore) -> None:
    """A baseline that was copied to another test's name is that test's: the path decides."""
    path = store.update(baseline(), **KEY)
    path.rename(path.with_name("t.py--test_moved.json"))
    (entry,) = store.entries()
    assert entry.test == "t.py--test_moved"
    assert entry.path == store.path(**{**KEY, "test": "t.py::test_moved"})


def test_removing_one_entry_keeps_the_others_and_the_last_one_takes_the_file(store: BaselineStore) -> None:
    """The file shrinks by exactly one entry, is gone with the last, and leaves nothing behind."""
    alone = store.update(baseline("bursty"), **KEY).read_bytes()
    path = store.update(baseline("steady"), **KEY)
    bursty, steady = store.entries()
    assert store.remove(steady)
    assert path.read_bytes() == alone, "the test's name and the other entry are as before"
    assert not store.remove(steady), "it was removed already"
    assert path.read_bytes() == alone
    assert store.remove(bursty)
    assert list(path.parent.iterdir()) == []
    assert not store.remove(bursty)


def test_a_damaged_file_is_removed_as_a_whole(store: BaselineStore) -> None:
    """An entry without a workload is the file, as long as nobody has mended it."""
    path = store.path(**KEY)
    path.parent.mkdir(parents=True)
    path.write_text("{")
    (damaged,) = store.entries()
    store.update(baseline(), **KEY)
    assert not store.remove(damaged), "it was mended in between"
    assert set(store.load(**KEY)) == {"steady"}
    path.write_text("{")
    assert store.remove(damaged)
    assert list(path.parent.iterdir()) == []


def test_what_became_unreadable_or_newer_is_not_removed(store: BaselineStore) -> None:
    """Removing an entry of a file that is damaged by now, or of a future version, is refused and changes nothing."""
    path = store.update(baseline(), **KEY)
    (entry,) = store.entries()
    path.write_text("{")
    with pytest.raises(BaselineError, match="is not whole JSON"):
        store.remove(entry)
    path.write_text('{"format": "pytest-inferbench-baseline", "version": 3}')
    for workload in ("steady", None):
        with pytest.raises(NewerBaselineError, match="upgrade pytest-inferbench"):
            store.remove(replace(entry, workload=workload))
    assert path.exists()
