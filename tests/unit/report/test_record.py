"""A measurement as plain values: complete, JSON, and in the units that the schema promises."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import jsonschema
import numpy as np
import pytest

from pytest_inferbench.disruption import DisruptionEvent, Freeze
from pytest_inferbench.judgement.measurement import Measurement, Reference
from pytest_inferbench.judgement.slo import SLO
from pytest_inferbench.report.json_result import SCHEMA_PATH, result
from pytest_inferbench.report.markdown import markdown
from pytest_inferbench.report.record import measurement_record, verdict_record
from pytest_inferbench.runs.run import Failure
from tests.unit.examples import INVALID, SERVICE, SETTINGS, measurement, run, runs


def record(found: Measurement) -> dict[str, Any]:
    return measurement_record("t.py::test_x", found)


def compared(**changes: Any) -> Measurement:
    reference = Reference(label="baseline 2026-01-02", runs=runs(factor=1.001), differences=("python 3.12 -> 3.13",))
    return measurement(**{"runs": runs(factor=1.3), "reference": reference, **changes})


@pytest.mark.parametrize(
    "found",
    [
        measurement(),
        compared(),
        compared(findings=(INVALID, SERVICE, replace(SERVICE, value=math.inf, limit=math.nan))),
        measurement(runs=runs(2, failed=300)),
        measurement(runs=runs(1, n=3)),
        measurement(runs=(run(failed=400), run(seed=1))),
        measurement(runs=(run(issued_ns=np.full(400, -1), completed_ns=np.full(400, -1), failed=400),)),
        compared(runs=runs(failed=400)),
        compared(runs=runs(1)),
    ],
    ids=["plain", "compared", "findings", "failures", "tiny", "dead", "unissued", "infinite", "one-pair"],
)
def test_every_record_is_strict_json_to_the_schema(found: Measurement) -> None:
    """Whatever was measured, also if nothing was: the record has no NaN or Infinity and fits the published schema."""
    found.meets(SLO(p95="100ms", throughput="30/s", error_rate=0))
    found.has_not_regressed()
    made = record(found)
    assert len(made["verdicts"]) == 2
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    jsonschema.validate(result([made], settings=SETTINGS), json.loads(SCHEMA_PATH.read_text(encoding="utf-8")))


def test_figures_are_seconds_rates_and_fractions() -> None:
    """Estimates are those of the runs, in seconds, per second and as a fraction, each inside its interval."""
    made = record(measurement(runs=runs(5, failed=2)))
    figures = made["figures"]
    assert set(figures) == {"p50", "p95", "p99", "error_rate", "throughput"}
    assert 0.05 < figures["p50"]["estimate"] < 0.06
    assert figures["error_rate"]["estimate"] == 0.005
    assert 35 < figures["throughput"]["estimate"] < 41
    for figure in figures.values():
        low, high = (float(end) for end in figure["interval"])
        assert low <= figure["estimate"] <= high


def test_failures_are_counted_by_cause() -> None:
    """Each cause that occurred has its count, none that did not is named; the counts add up to the failed ones."""
    kinds = np.zeros(400, np.uint8)
    kinds[:5], kinds[5:7] = Failure.TIMEOUT, Failure.STATUS
    made = record(measurement(runs=(run(failure=kinds), run(seed=1, failed=3))))
    assert made["failures"] == {"reset": 3, "timeout": 5, "status": 2}
    assert (made["requests"], made["failed"]) == (800, 10)
    assert [one["failed"] for one in made["runs"]] == [7, 3]


def test_a_percentile_of_too_few_requests_has_no_interval() -> None:
    """250 requests support a p95 but no p99: its estimate is shown, its interval is not claimed."""
    figures = record(measurement(runs=(run(n=250),)))["figures"]
    assert figures["p95"]["interval"] is not None
    assert figures["p99"]["interval"] is None
    assert figures["p99"]["estimate"] > 0


def test_failures_rank_as_infinite() -> None:
    """A percentile that lies among the failed requests is "inf", not the largest of the good ones."""
    made = record(measurement(runs=runs(3, failed=100)))
    assert made["figures"]["p95"]["estimate"] == "inf"
    assert made["runs"][0]["p95"] == "inf"
    assert made["runs"][0]["p50"] < 1


def test_the_delay_of_requests_that_were_never_sent_does_not_count() -> None:
    """How late the generator was is about requests that it sent; with none there is no figure."""
    issued = np.arange(400, dtype=np.int64) * 25_000_000 + 3_000_000
    issued[200:] = -1
    assert record(measurement(runs=(run(issued_ns=issued),)))["issue_delay"] == {"p50": 0.003, "p99": 0.003}
    never = run(issued_ns=np.full(400, -1), completed_ns=np.full(400, -1), failed=400)
    assert record(measurement(runs=(never,)))["issue_delay"] == {"p50": None, "p99": None}


def test_server_timing_is_the_mean_over_the_answers_that_sent_it() -> None:
    """Answers without the header do not pull the mean, and a metric that none sent is left out."""
    infer = np.full(400, np.nan, np.float32)
    infer[:2] = (10.0, 20.0)
    timed = run(server_timing={"infer": infer, "queue": np.full(400, np.nan, np.float32)})
    assert record(measurement(runs=(timed,)))["runs"][0]["server_timing"] == {"infer": 15.0}


def test_a_reference_comes_with_its_figures_and_every_comparison() -> None:
    """Both sides are shown alike, with what else differs; without a reference there is null."""
    reference = record(compared())["reference"]
    assert reference["label"] == "baseline 2026-01-02"
    assert reference["differences"] == ["python 3.12 -> 3.13"]
    assert reference["requests"] == 2000
    checks = {check["metric"]: check for check in reference["comparisons"]}
    assert set(checks) == {"p50", "p95", "throughput", "error_rate"}
    assert checks["p50"]["outcome"] == "REGRESSED"
    assert checks["p50"]["interval"][0] < checks["p50"]["ratio"] < checks["p50"]["interval"][1]
    assert len(checks["p50"]["pair_ratios"]) == checks["p50"]["pairs"] == 5
    assert record(measurement())["reference"] is None


def test_a_disrupted_run_has_what_was_done_to_it_and_what_that_cost() -> None:
    """Instants, length and failures are there at once; recovery and goodput lost once a test names an SLO. It fits
    the schema before and after, on both sides, and Markdown marks the measurement and has a row per run."""
    freeze = Freeze(at=2, duration=1)
    event = DisruptionEvent(disruption=freeze, began_ns=2_100_000_000, ended_ns=3_200_000_000, start_ns=0, detail="x")
    undone = replace(event, began_ns=None, ended_ns=None)
    reference = Reference(label="profile baseline", runs=runs(2), events=((event,), (undone,)))
    found = measurement(runs=runs(2, failed=4), events=((event,), (event,)), reference=reference)
    made = record(found)
    (first, _), (impact, _) = made["disruptions"], made["impacts"]
    assert (first["run"], first["kind"], first["planned"], first["began"]) == (0, "Freeze", 2.0, 2.1)
    assert first["duration"] == pytest.approx(1.1)
    assert made["reference"]["disruptions"][1]["duration"] is None
    assert (impact["failed"], impact["requests"], impact["recovery"], impact["lost"]) == (4, 400, None, None)
    assert 0 < impact["outage"] < 1
    schema = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))
    jsonschema.validate(result([made], settings=SETTINGS), schema)
    found.impacts(SLO(p95="150ms"))
    made = record(found)
    impact = made["impacts"][0]
    jsonschema.validate(result([made], settings=SETTINGS), schema)
    assert impact["recovery"] == "inf"  # the last four failed
    assert impact["lost"] > 4
    assert impact["slo"] == {"p95": 0.15}
    recoveries = [each["recovery"] for each in made["reference"]["impacts"]]
    assert recoveries[0] is not None
    assert recoveries[1] is None
    text = markdown([made])
    assert "- disrupted on purpose: test\\_x under profile optimized: Freeze at 2.00 s for 1.00 s, workers 1" in text
    assert text.count("Freeze at 2.00 s for 1.00 s, workers 1 |") == 4
    assert "not carried out" in text


def test_a_cost_curve_fits_the_schema_with_its_verdict() -> None:
    """Both sides have their curve and the verdict its classes and slope; with one run no interval is claimed."""
    sizes = np.arange(400) % 100 + 1
    sized = [replace(each, sizes=sizes) for each in runs(3)]
    found = measurement(runs=tuple(sized), reference=Reference(label="profile baseline", runs=tuple(sized[:1])))
    found.curve_has_not_regressed()
    made = record(found)
    assert [check["metric"] for check in made["verdicts"][0]["checks"]][-2:] == ["64-100 tokens", "slope"]
    assert made["curve"]["slope_interval"] is not None
    assert made["reference"]["curve"]["slope_interval"] is None
    assert record(measurement())["curve"] is None
    jsonschema.validate(result([made], settings=SETTINGS), json.loads(SCHEMA_PATH.read_text(encoding="utf-8")))
    assert "per token" in markdown([made])


def test_a_verdict_carries_the_explanation_that_the_assert_shows() -> None:
    """Outcome, checks and reasons are those of the verdict, the explanation its repr."""
    verdict = compared().has_not_regressed(metrics=["p50"])
    made = verdict_record(verdict)
    assert (made["kind"], made["outcome"], made["passed"]) == ("regression", "REGRESSED", False)
    assert made["explanation"] == repr(verdict)
    assert made["reasons"] == list(verdict.reasons)
    assert [check["metric"] for check in made["checks"]] == ["p50"]
    slo = verdict_record(measurement().meets(SLO(p95="1ms")))
    assert slo["checks"][0]["limit"] == 0.001
    assert slo["checks"][0]["n"] == 2000
