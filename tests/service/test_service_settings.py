"""The profile's tables: defaults, and one clear error for everything that is not known."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service import settings
from service.errors import ServiceError
from service.settings import Profile, RuntimeSettings


def test_no_profile_is_the_baseline() -> None:
    """Proves that an unset or empty variable means eager fp32 PyTorch, one request at a time."""
    for environ in ({}, {"INFERBENCH_PROFILE": ""}):
        profile = Profile.from_environment(environ)
        assert (profile.name, profile.runtime.engine, profile.runtime.precision) == ("baseline", "torch", "fp32")
        assert not profile.service.batching
        assert profile.runtime.threads_each() >= 1


def test_cpus_are_shared_out_among_streams_and_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that no worker counts on all CPUs where others compute too, and that a number that was said is kept."""
    monkeypatch.setattr(settings, "available_cpus", lambda: 8)
    assert RuntimeSettings().threads_each() == 8
    assert RuntimeSettings(streams=2).threads_each(workers=2) == 2
    assert RuntimeSettings().threads_each(workers=16) == 1
    assert RuntimeSettings(threads=3).threads_each(workers=4) == 3


def test_a_full_profile_is_read() -> None:
    """Proves that every table of a resolved profile arrives, and that deployment is ignored but for workers."""
    profile = Profile.from_json(
        json.dumps(
            {
                "name": "all",
                "runtime": {"engine": "onnxruntime", "precision": "int8", "threads": 2},
                "service": {"batching": True, "max_batch_size": 4, "max_latency_ms": 500, "timeout_s": 5},
                "deployment": {"kind": "local", "workers": 3, "affinity": [0]},
            }
        )
    )
    assert (profile.runtime.engine, profile.runtime.threads, profile.workers) == ("onnxruntime", 2, 3)
    assert (profile.service.max_batch_size, profile.service.timeout_s) == (4, 5)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"runtime": {"enigne": "torch"}}, ("'enigne'", "did you mean 'engine'?", "precision")),
        ({"runtime": {"engine": "onnx-runtime"}}, ("runtime.engine", "did you mean 'onnxruntime'?", "torch")),
        ({"runtime": {"engine": "torch", "precision": "int8"}}, ("runtime.precision", "fp32, bf16")),
        ({"runtime": {"threads": -1}}, ("runtime.threads", "whole number", "-1")),
        ({"runtime": {"engine": "onnxruntime", "compiled": True}}, ("runtime.compiled", "onnxruntime")),
        ({"runtime": {"threads_alone": 2}}, ("runtime.threads_alone", "onnxruntime")),
        ({"runtime": {"streams": 0}}, ("runtime.streams", "from 1")),
        ({"runtime": {"threads": True}}, ("runtime.threads", "True")),
        ({"runtime": []}, ("runtime must be a table",)),
        ({"service": {"batching": 1}}, ("service.batching", "true or false")),
        ({"service": {"batcher": "imediate"}}, ("service.batcher", "did you mean 'immediate'?")),
        ({"service": {"max_batch_size": 1}}, ("service.max_batch_size", "from 2")),
        ({"service": {"max_latency_ms": 1.5}}, ("service.max_latency_ms", "1.5")),
        ({"service": {"queue_target_ms": -1}}, ("service.queue_target_ms", "from 0")),
        ({"service": {"timeout_s": float("nan")}}, ("service.timeout_s", "nan")),
        ({"service": {"acces_log": False}}, ("'acces_log'", "did you mean 'access_log'?")),
        ({"service": {"slowdown": {"inference": 0.1}}}, ("'inference'", "did you mean 'infer'?")),
        ({"service": {"slowdown": {"infer": -0.1}}}, ("service.slowdown.infer", "-0.1")),
        ({"deployment": {"workers": 0}}, ("deployment.workers", "from 1")),
        ({"sevice": {}}, ("'sevice'", "did you mean 'service'?")),
    ],
)
def test_what_is_not_known_is_one_clear_error(raw: dict[str, Any], said: tuple[str, ...]) -> None:
    """Proves that an unknown key, value or type is refused with its name, the near match and what is allowed."""
    with pytest.raises(ServiceError) as error:
        Profile.from_json(json.dumps({"name": "mine", **raw}))
    message = str(error.value)
    assert "\n" not in message
    assert [part for part in said if part not in message] == []


@pytest.mark.parametrize("text", ["{", "[]", "3", '{"name": 3}'])
def test_what_is_not_a_profile_is_refused(text: str) -> None:
    """Proves that text which is not a JSON table fails as a setting, not as a crash."""
    with pytest.raises(ServiceError):
        Profile.from_json(text)
