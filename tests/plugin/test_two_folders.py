"""Folders whose conftest overrides what requests carry, or where they go."""

from __future__ import annotations

from tests.plugin.conftest import Bench

MEASURED = """
async def test_{name}(inference_service, steady):
    assert (await steady.measure(inference_service)).runs
"""

OVERRIDES = """
import pytest
from pytest_inferbench import Target

@pytest.fixture(scope="session")
def inference_payloads():
    return [{{"from": "{name}"}}]

@pytest.fixture(scope="session")
def inference_target():
    return Target("/predict", headers={{"x-folder": "{name}"}})
"""


def test_each_folder_is_measured_with_its_own_payloads_and_target(bench: Bench) -> None:
    """The second folder's test is not sent what the first one's conftest says, in one session under one profile."""
    for name in ("first", "second"):
        folder = bench.path / name
        folder.mkdir()
        (folder / "conftest.py").write_text(OVERRIDES.format(name=name), encoding="utf-8")
        (folder / f"test_{name}.py").write_text(MEASURED.format(name=name), encoding="utf-8")
    bench.run("first", "second").result.assert_outcomes(passed=2)
    sent = [(request["body"], request["headers"].get("x-folder")) for request in bench.requests]
    assert set(sent) == {('{"from":"first"}', "first"), ('{"from":"second"}', "second")}
    assert [folder for _, folder in sent] == sorted(folder for _, folder in sent)


def test_an_override_may_live_as_long_as_its_test(bench: Bench) -> None:
    """Function scope will do for an override, since the workloads are made for each test."""
    bench.pytester.makeconftest(
        "import pytest\n@pytest.fixture\ndef inference_payloads(request):\n    return [{'for': request.node.name}]\n"
    )
    bench.pytester.makepyfile(MEASURED.format(name="a") + MEASURED.format(name="b"))
    bench.run().result.assert_outcomes(passed=2)
    assert {request["body"] for request in bench.requests} == {'{"for":"test_a"}', '{"for":"test_b"}'}
