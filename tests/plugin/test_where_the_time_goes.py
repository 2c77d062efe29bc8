"""Where the time goes: a slowdown is traced to the part of the service that it is in."""

from __future__ import annotations

from fnmatch import fnmatch

import pytest

from tests.plugin.conftest import Bench

PARTS = {"queue": 0.001, "tokenize": 0.002, "infer": 0.006}


def spend(**changes: float) -> dict[str, str]:
    """Return the profile of a service that spends so many seconds in each part."""
    return {"spend": ",".join(f"{name}={seconds}" for name, seconds in {**PARTS, **changes}.items())}


GATED = """
async def test_gated(inference_service, steady):
    measurement = await steady.measure(inference_service)
    assert measurement.has_not_regressed(metrics=["p50"])
"""


@pytest.mark.parametrize("part", ["queue", "tokenize", "infer", "network and framework"])
def test_a_regression_names_the_part_that_got_slower(bench: Bench, part: str) -> None:
    """Ten milliseconds more in one part of a real answer: the failing assert, the JSON and the summary say in which."""
    # What the service does not report is as long as the machine makes it.
    slow, grew = {**spend(), "delay": 0.01}, "* ms *"
    if part in PARTS:
        slow, grew = spend(**{part: PARTS[part] + 0.01}), "10.0 ms *"
    bench.configure(profiles={"baseline": spend(), "slow": slow}, rate=40, duration="1s")
    bench.pytester.makepyfile(GATED)
    session = bench.run("--profile=slow", "--against=baseline", repeats=3)
    assert session.verdicts == ["REGRESSED"]
    session.result.stdout.fnmatch_lines(["E *where the time went: *", "  mean time in *queue *tokenize *"])
    # Not first where the machine delayed the network at the same time.
    explanation = " ".join(session.measurements[0]["verdicts"][0]["explanation"].split())
    assert fnmatch(explanation, f"*where the time went: *{part} +{grew}*"), explanation
    shifts = {shift["component"]: shift for shift in session.measurements[0]["reference"]["shifts"]}
    assert set(shifts) == {"client delay", "queue", "tokenize", "infer", "network and framework"}
    if part in PARTS:
        assert shifts[part]["change"] == pytest.approx(0.01)


def test_a_stored_baseline_keeps_the_parts(bench: Bench) -> None:
    """A later session against the stored baseline names the part too, and shows how late its requests had left."""
    bench.configure(profiles={"baseline": spend()}, rate=40, duration="1s")
    bench.pytester.makepyfile(GATED)
    bench.run("--update-baselines", repeats=3)
    bench.configure(profiles={"baseline": spend(infer=0.02)}, rate=40, duration="1s")
    session = bench.run(repeats=3)
    assert session.verdicts == ["REGRESSED"]
    (measurement,) = session.measurements
    assert "where the time went: infer +14.0 ms" in measurement["verdicts"][0]["explanation"]
    assert measurement["reference"]["issue_delay"]["p99"] > 0
