"""Profiles: resolution, validation, and what the service is handed."""

from __future__ import annotations

import json

import pytest

from pytest_inferbench.config.profile import DeploymentSpec, did_you_mean, resolve_profile, resolve_profiles
from pytest_inferbench.errors import ConfigurationError


def test_own_keys_win_over_inherited_ones_table_by_table() -> None:
    """A grandchild keeps what its parents say except for the keys it names itself."""
    tables = {
        "a": {"runtime": {"engine": "eager", "threads": 1}, "deployment": {"workers": 2}},
        "b": {"extends": "a", "runtime": {"engine": "onnx"}, "service": {"batching": True}},
        "c": {"extends": "b", "runtime": {"threads": 4}},
    }
    profile = resolve_profile("c", tables, where="x")
    assert profile.runtime == {"threads": 4, "engine": "onnx"}
    assert profile.service == {"batching": True}
    assert profile.deployment == DeploymentSpec(workers=2)


def test_baseline_always_exists_and_may_be_written_out() -> None:
    """Without any table there is the plainest profile; a table of that name replaces it."""
    assert set(resolve_profiles({}, where="x")) == {"baseline"}
    assert resolve_profiles({"baseline": {"runtime": {"a": 1}}}, where="x")["baseline"].runtime == {"a": 1}


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"a": {"extends": "a"}}, "circle: a -> a"),
        ({"a": {"extends": "b"}, "b": {"extends": "a"}}, "circle: a -> b -> a"),
        (
            {"a": {"extends": "bse"}, "base": {}},
            "unknown profile 'bse' .which profile 'a' extends.; did you mean 'base'",
        ),
        ({"a": {"extends": 1}}, "profiles.a.extends: expected the name of a profile, got 1"),
        ({"a": {"runtme": {}}}, "profiles.a: unknown key 'runtme'; did you mean 'runtime'"),
        ({"a": {"runtime": "fast"}}, "profiles.a.runtime: expected a table, got 'fast'"),
        ({"a": 3}, "profiles.a: expected a table, got 3"),
        ({"a": {"deployment": {"worker": 1}}}, "profiles.a.deployment: unknown key 'worker'; did you mean 'workers'"),
        ({"a": {"deployment": {"kind": "cloud"}}}, "profiles.a.deployment.kind: 'cloud' is not supported"),
        ({"a": {"deployment": {"workers": 0}}}, "workers: expected a whole number from 1 to 1024, got 0"),
        ({"a": {"deployment": {"workers": True}}}, "workers: expected a whole number from 1 to 1024, got True"),
        ({"a": {"deployment": {"port": 70000}}}, "port: expected a whole number from 0 to 65535, got 70000"),
        ({"a": {"deployment": {"affinity": []}}}, r"affinity: expected CPUs as \[0, 1\]"),
        ({"a": {"deployment": {"affinity": "3-1"}}}, "affinity: expected CPUs"),
        ({"a": {"deployment": {"affinity": "x"}}}, "affinity: expected CPUs"),
        ({"a": {"deployment": {"affinity": [-1]}}}, "affinity: expected a whole number"),
        ({"a": {"deployment": {"nice": 20}}}, "nice: expected a whole number from -20 to 19, got 20"),
        ({"a": {"deployment": {"environment": "A=1"}}}, "environment: expected a table of variables, got 'A=1'"),
        (
            {"a": {"deployment": {"environment": {"A": 1}}}},
            "environment.A: expected the text of an environment variable",
        ),
    ],
)
def test_a_mistake_names_its_place(tables: dict[str, object], message: str) -> None:
    """Each mistake is one ConfigurationError that starts with the file and names the key."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        resolve_profiles(tables, where="pyproject.toml [tool.inferbench]")
    assert str(caught.value).startswith("pyproject.toml [tool.inferbench]: ")


@pytest.mark.parametrize(("value", "cpus"), [([1, 0, 1], (0, 1)), ("0-2,5", (0, 1, 2, 5)), ("3", (3,))])
def test_affinity_as_a_list_or_in_the_kernels_notation(value: object, cpus: tuple[int, ...]) -> None:
    """Both notations give sorted distinct CPUs."""
    assert DeploymentSpec.from_table({"affinity": value}, where="x").affinity == cpus


@pytest.mark.parametrize("value", ["0-99999999999", "0-5000"])
def test_an_absurd_range_of_cpus_is_refused_before_it_is_spelled_out(value: str) -> None:
    """A range beyond any machine's CPUs is a mistake, not a reason to fill the memory."""
    with pytest.raises(ConfigurationError, match="affinity"):
        DeploymentSpec.from_table({"affinity": value}, where="x")


def test_the_service_gets_every_table_as_json() -> None:
    """The JSON holds name and all three tables, sorted, so that equal profiles are equal texts."""
    one = resolve_profile("a", {"a": {"runtime": {"b": 1, "a": [1, 2]}}}, where="x")
    two = resolve_profile("a", {"a": {"runtime": {"a": [1, 2], "b": 1}}}, where="x")
    assert one.to_json() == two.to_json()
    assert json.loads(one.to_json()) == {
        "name": "a",
        "runtime": {"a": [1, 2], "b": 1},
        "service": {},
        "deployment": {"kind": "local", "workers": 1, "affinity": None, "port": 0},
    }


def test_the_hint_lists_what_is_known() -> None:
    """Near or not, the known names are listed; none says so."""
    assert (
        did_you_mean("optimised", ["optimized", "baseline"])
        == "; did you mean 'optimized'? (known: baseline, optimized)"
    )
    assert did_you_mean("zzz", ["a"]) == "; (known: a)"
    assert did_you_mean("zzz", []) == "; (known: none)"
