"""From command line, ini file and configuration to one frozen value, or to one message."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from pytest_inferbench.loadgen import Target
from pytest_inferbench.plugin.options import OPTIONS, given_on_command_line
from pytest_inferbench.plugin.settings import Settings, load_settings

CONFIGURATION = """
[tool.inferbench.profiles.fast]
runtime = { engine = "x" }
[tool.inferbench.profiles.faster]
extends = "fast"
"""


@pytest.fixture(autouse=True)
def _neutral(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the machine's own changes what is read."""
    for name in ("CI", "PYTEST_ADDOPTS", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def settings(pytester: pytest.Pytester) -> Any:
    """Read the settings of a project with two profiles, from arguments and ``[pytest]`` lines."""
    pytester.makepyprojecttoml(CONFIGURATION)

    def read(*arguments: str, ini: str = "") -> Settings:
        pytester.makeini(f"[pytest]\n{ini}")
        return load_settings(pytester.parseconfig(*arguments))

    return read


def test_the_defaults_are_those_of_the_contract(settings: Any, pytester: pytest.Pytester) -> None:
    """Nothing given: the plainest profile, five repeats, 5 %, baselines/ below the root, nothing written or forced."""
    found = settings()
    assert (found.selected, found.against, found.url) == (("baseline",), None, None)
    assert (found.repeats, found.seed, found.alpha) == (5, 0, 0.05)
    assert (found.duration, found.budget, found.boot_timeout, found.drain_timeout) == (None, None, 180.0, 15.0)
    assert found.storage == pytester.path / "baselines"
    assert found.json is None
    flags = ("update_baselines", "strict", "missing_fails", "selfcheck", "prune")
    assert not any(getattr(found, name) for name in flags)


def test_the_ini_file_is_asked_where_the_command_line_says_nothing(settings: Any) -> None:
    """Each kind of option can be set in the ini file, and the command line wins over it."""
    ini = "\n".join(
        [
            "inferbench_profile = fast faster",
            "inferbench_repeats = 3",
            "inferbench_duration = 2min",
            "inferbench_strict = true",
            "inferbench_alpha = 1%",
        ]
    )
    found = settings(ini=ini)
    assert (found.selected, found.repeats, found.duration) == (("fast", "faster"), 3, 120.0)
    assert (found.strict, found.alpha) == (True, 0.01)
    over = settings("--inferbench-profile=baseline", "--inferbench-repeats=7", "--inferbench-duration=500ms", ini=ini)
    assert (over.selected, over.repeats, over.duration) == (("baseline",), 7, 0.5)


def test_short_spellings_mean_the_same(settings: Any) -> None:
    """--profile, --against and --update-baselines are the long ones; a profile named twice is one."""
    found = settings("--profile=fast", "--profile=faster", "--profile=fast", "--against=baseline", "--update-baselines")
    long = settings(
        "--inferbench-profile=fast",
        "--inferbench-profile=faster",
        "--inferbench-against=baseline",
        "--inferbench-update-baselines",
    )
    assert found == long
    assert found.selected == ("fast", "faster")
    assert found.update_baselines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--profile=fats"], "--profile: unknown profile 'fats'; did you mean 'fast'"),
        (["--against=fats"], "--against: unknown profile 'fats'; did you mean 'fast'"),
        (["--profile=fast", "--against=fast"], "--against fast is the profile under test itself"),
        (["--inferbench-repeats=0"], "--inferbench-repeats must be a whole number from 1 up, got '0'"),
        (["--inferbench-repeats=2.5"], "--inferbench-repeats must be a whole number from 1 up, got '2.5'"),
        (["--inferbench-seed=-1"], "--inferbench-seed must be a whole number from 0 up, got '-1'"),
        (["--inferbench-alpha=0"], "--inferbench-alpha must lie between 0 and 50 %"),
        (["--inferbench-alpha=50%"], "--inferbench-alpha must lie between 0 and 50 %"),
        (["--inferbench-alpha=nan"], "--inferbench-alpha: cannot read 'nan'"),
        (["--inferbench-duration=soon"], "--inferbench-duration: cannot read 'soon'"),
        (["--inferbench-budget=0s"], "--inferbench-budget: must be greater than zero"),
        (["--inferbench-boot-timeout=-3"], "--inferbench-boot-timeout: must be greater than zero"),
        (["--inferbench-drain-timeout=inf"], "--inferbench-drain-timeout: cannot read 'inf'"),
        (["--inferbench-url=localhost:3000"], "--inferbench-url must start with http:// or https://"),
        (["--inferbench-url=http://x", "--against=fast"], "--inferbench-url tests one running endpoint"),
        (["--inferbench-url=http://x", "--profile=fast", "--profile=faster"], "goes with one --profile"),
        (["--inferbench-json=."], r"--inferbench-json: .* is a folder"),
        (["--inferbench-config=none.toml"], "inferbench_config: there is no file"),
        (["--inferbench-selfcheck", "--against=fast"], "--inferbench-selfcheck measures the service against itself"),
    ],
)
def test_a_mistake_is_one_message_that_names_the_option(settings: Any, arguments: list[str], message: str) -> None:
    """Every mistake is a UsageError, which pytest shows without a traceback, with the option and what was given."""
    with pytest.raises(pytest.UsageError, match=message) as caught:
        settings(*arguments)
    assert str(caught.value).startswith("inferbench: ")


@pytest.mark.parametrize(
    ("ci", "allowed", "fails"),
    [("true", False, True), ("", False, False), ("true", True, False), ("False", False, False), ("0", False, False)],
)
def test_a_missing_baseline_fails_under_ci(
    settings: Any, monkeypatch: pytest.MonkeyPatch, ci: str, allowed: bool, fails: bool
) -> None:
    """CI set and nothing allowed: a gate that never measured fails. An empty variable is none, and false is no."""
    monkeypatch.setenv("CI", ci)
    assert settings(*["--inferbench-allow-missing"] * allowed).missing_fails is fails


def test_paths_start_where_their_reader_expects_it(settings: Any, pytester: pytest.Pytester) -> None:
    """The result is written relative to where pytest was started, baselines lie relative to the project's root."""
    found = settings("--inferbench-json=out/result.json", "--inferbench-storage=ours")
    assert found.json == pytester.path / "out/result.json"
    assert found.storage == pytester.path / "ours"
    assert settings("--inferbench-storage=/elsewhere").storage == Path("/elsewhere")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (None, "/classify"),
        ("http://host:1", "/classify"),
        ("http://host:1/", "/classify"),
        ("http://host:1/v2/predict", "http://host:1/v2/predict"),
    ],
)
def test_a_url_with_a_path_is_the_endpoint(settings: Any, url: str | None, expected: str) -> None:
    """A host alone is where the configured path is asked; a URL with a path of its own replaces it."""
    found = settings(*[f"--inferbench-url={url}"] if url else [])
    assert found.endpoint(Target("/classify", method="PUT")) == Target(expected, method="PUT")


def test_settings_do_not_change(settings: Any) -> None:
    """What the user asked for is a value."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings().repeats = 3


def test_whether_anything_was_given_on_the_command_line(pytester: pytest.Pytester) -> None:
    """An option of ours counts, an ini line or another plugin's option does not."""
    pytester.makeini("[pytest]\ninferbench_repeats = 3")
    assert not given_on_command_line(pytester.parseconfig("-q"))
    assert given_on_command_line(pytester.parseconfig("--inferbench-strict"))
    assert given_on_command_line(pytester.parseconfig("--profile=fast"))


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_option_is_named_and_explained_alike(option: Any) -> None:
    """--inferbench-NAME and inferbench_NAME; a help text that argparse can format; values say what they are."""
    assert option.flag == f"--inferbench-{option.name}"
    assert option.key == f"inferbench_{option.name}".replace("-", "_")
    assert option.help % {}
    assert (option.metavar is None) == (option.kind == "flag")
    assert option.attributes["dest"] == option.key
    assert option.attributes["default"] is None


def test_no_two_options_share_a_spelling() -> None:
    """Names, keys and short spellings are unique."""
    for spellings in ([o.flag for o in OPTIONS], [o.key for o in OPTIONS], [o.short for o in OPTIONS if o.short]):
        assert len(spellings) == len(set(spellings))
