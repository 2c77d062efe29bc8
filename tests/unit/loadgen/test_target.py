"""What a target accepts, and what it never tells."""

from __future__ import annotations

import asyncio
import math

import pytest

from pytest_inferbench.errors import ValidationError
from pytest_inferbench.loadgen import LoadGenerator, ResponseCheck, Target

HOST = "http://127.0.0.1:3000"


def test_a_path_is_resolved_against_a_service():
    """A path is appended to the base, which may have a path of its own; everything else stays."""
    target = Target("/classify?top=1", method="put", headers={"A": "b"}, timeout=3)
    assert target.at(HOST).url == f"{HOST}/classify?top=1"
    assert target.at(f"{HOST}/").url == f"{HOST}/classify?top=1"
    assert target.at(f"{HOST}/api").url == f"{HOST}/api/classify?top=1"
    assert (target.at(HOST).method, target.at(HOST).headers, target.at(HOST).timeout) == ("PUT", {"A": "b"}, 3)


def test_an_absolute_url_stays_as_it_is():
    """A target that names its host is not moved to another."""
    target = Target("https://elsewhere:1/x")
    assert target.at(HOST) is target


@pytest.mark.parametrize("base", ["", "127.0.0.1:3000", "ftp://host", "http://", "http://host?x=1"])
def test_a_base_that_is_none_is_refused(base):
    """A base URL without scheme and host, or with a query, is refused."""
    with pytest.raises(ValidationError, match="base URL"):
        Target("/x").at(base)


@pytest.mark.parametrize(
    "url",
    ["", "classify", "localhost:3000/x", "ftp://host/x", "http:///x", "//host/x", "http://h:99999/", "http://h:0/",
     "/a b", "http://h/\r\nX: y", "http://[::1/x", 3, None],
)  # fmt: skip
def test_urls_that_are_none_are_refused(url):
    """What is neither http(s)://host nor an absolute path is refused."""
    with pytest.raises(ValidationError, match=r"Target\.url"):
        Target(url)


@pytest.mark.parametrize(
    "changes",
    [
        {"method": ""}, {"method": "GET /"}, {"method": 3},
        {"timeout": 0}, {"timeout": -1}, {"timeout": math.nan}, {"timeout": math.inf}, {"timeout": "1"},
        {"timeout": True}, {"max_connections": 0}, {"max_connections": 1.5}, {"max_connections": True},
        {"headers": {"a b": "c"}}, {"headers": {"": "c"}}, {"headers": {"a": "b\r\nc: d"}}, {"headers": {"a": 1}},
        {"insecure": True, "ca_file": "x.pem"},
    ],
)  # fmt: skip
def test_impossible_options_are_refused(changes):
    """Each bad option is refused, and the message names it."""
    with pytest.raises(ValidationError, match=next(iter(changes))):
        Target(HOST, **changes)


def test_secrets_are_never_shown():
    """Neither the repr nor an error shows header values or the credentials in a URL; their names it shows."""
    target = Target("http://user:hunter2@host/x", headers={"Authorization": "Bearer s3cret"})
    assert "s3cret" not in repr(target)
    assert "hunter2" not in repr(target)
    assert "Authorization" in repr(target)
    assert "***@host" in repr(target)
    for make in (
        lambda: Target("http://user:hunter2@host:99999/x"),
        lambda: Target("http://user:hunter2@host/x y"),
        lambda: Target("http://user:hunter2@[::1/x"),
        lambda: Target("ftp://user:hunter2@host/x"),
        lambda: Target("/x").at("ftp://user:hunter2@host"),
        lambda: Target(HOST, headers={"Authorization": "hunter2\n"}),
    ):
        with pytest.raises(ValidationError) as refusal:
            make()
        assert "hunter2" not in str(refusal.value)


def test_headers_are_copied():
    """The caller's dict may change afterwards; the target's does not."""
    headers = {"A": "b"}
    target = Target(HOST, headers=headers)
    headers["A"] = "c"
    assert target.headers == {"A": "b"}


@pytest.mark.parametrize(
    "changes",
    [{"statuses": (42,)}, {"statuses": ("200",)}, {"contains": b"x"}, {"function": "no colon"}, {"function": len}],
)
def test_impossible_checks_are_refused(changes):
    """A response check of the wrong shape is refused when it is made, and the message names the field."""
    with pytest.raises(ValidationError, match=next(iter(changes))):
        ResponseCheck(**changes)


def test_a_generator_needs_a_host_and_a_drain(tmp_path):
    """A target that is only a path, a drain that is no duration, and a CA file that is absent are refused."""
    with pytest.raises(ValidationError, match=r"target\.at"):
        LoadGenerator(Target("/x"))
    for bad in (-1, math.nan, math.inf):
        with pytest.raises(ValidationError, match="drain_timeout"):
            LoadGenerator(Target(HOST), drain_timeout=bad)
    with pytest.raises(ValidationError, match="ca_file"):
        LoadGenerator(Target(HOST, ca_file=str(tmp_path / "absent.pem")))


@pytest.mark.parametrize("bad", [0, -1, 1.5, True])
def test_concurrency_must_be_a_count(bad):
    """A closed loop with no users is refused."""
    generator = LoadGenerator(Target(HOST))
    with pytest.raises(ValidationError, match="concurrency"):
        asyncio.run(generator.issue_closed([None], concurrency=bad))
