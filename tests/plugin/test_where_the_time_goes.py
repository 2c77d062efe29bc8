"""Where the time goes: a slowdown is traced to the part of the service that it is in."""

from __future__ import annotations

from fnmatch import fnmatch
from typing import Any

import pytest

from tests.plugin.conftest import Bench

PARTS = {"queue": 0.001, "tokenize": 0.002, "infer": 0.006}


def spend(elsewhere: float = 0.0, **changes: float) -> dict[str, Any]:
    """Return the profile of a service that states so many seconds in each part, and some more that it does not name."""
    return {
        "answer": elsewhere,
        "spend": ",".join(f"{name}={seconds}" for name, seconds in {**PARTS, **changes}.items()),
    }


GATED = """
async def test_gated(inference_service, steady):
    measurement = await steady.measure(inference_service)
    assert measurement.has_not_regressed(metrics=["p50"])
"""


@pytest.mark.parametrize("part", ["queue", "tokenize", "infer", "network and framework"])
def test_a_regression_names_the_part_that_got_slower(bench: Bench, part: str) -> None:
    """Ten milliseconds more in one part of a real answer: the failing assert, the JSON and the summary say in which."""
    slow = spend(**{part: PARTS[part] + 0.01}) if part in PARTS else spend(elsewhere=0.01)
    bench.configure(profiles={"baseline": spend(), "slow": slow}, rate=40, duration="1s")
    bench.pytester.makepyfile(GATED)
    session = bench.run("--profile=slow", "--against=baseline", repeats=3)
    assert session.verdicts == ["REGRESSED"]
    session.result.stdout.fnmatch_lines(["E *where the time went: *", "  mean time in *queue *tokenize *"])
    explanation = " ".join(session.measurements[0]["verdicts"][0]["explanation"].split())
    assert fnmatch(explanation, f"*where the time went: {part} +* ms *"), explanation
    shifts = {shift["component"]: shift for shift in session.measurements[0]["reference"]["shifts"]}
    assert set(shifts) == {"client delay", "queue", "tokenize", "infer", "network and framework"}
    assert shifts[part]["change"] == pytest.approx(0.01, rel=0.1)


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
