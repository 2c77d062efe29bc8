"""The plugin: hooks that hand over to the rest. Loaded in every pytest run, so nothing heavy is imported here."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from pytest_inferbench.errors import InferbenchError
from pytest_inferbench.plugin.fixtures import *  # noqa: F403
from pytest_inferbench.plugin.fixtures import DEFAULT_WORKLOADS
from pytest_inferbench.plugin.options import add_options, add_short_options, given_on_command_line
from pytest_inferbench.plugin.reporting import Reporting
from pytest_inferbench.plugin.session import SESSION, InferbenchSession, Taken

_PACKAGE = Path(__file__).parents[1]
_WORKLOADS = (*DEFAULT_WORKLOADS, "workload")
#: About what a search for a capacity takes in one boot: five to ten runs of eight seconds or, if it is low, more.
_SEARCH_SECONDS = 100.0
_FIXTURES = frozenset((*_WORKLOADS, "capacity", "inference_service", "inference_target", "inference_payloads"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the options under their full names."""
    add_options(parser)


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(parser: pytest.Parser) -> Generator[None, Any, Any]:
    """Register the short spellings once everybody else has had their turn."""
    result = yield
    add_short_options(parser)
    return result


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> pytest.ExitCode | None:
    """Write the starting configuration, if that is what was asked for."""
    if not config.option.inferbench_init:
        return None
    from pytest_inferbench.config.scaffold import write_starter

    try:
        found, written = write_starter(config.rootpath)
    except (InferbenchError, OSError) as error:
        raise pytest.UsageError(f"inferbench: {error}") from error
    print(f"inferbench: found {found.what}")
    for path in written:
        print(f"  written: {path}")
    print("Next: look at what was written, then  pytest benchmarks/ --update-baselines  and  pytest benchmarks/")
    return pytest.ExitCode.OK


def pytest_configure(config: pytest.Config) -> None:
    """Set up the session's state; read the configuration now if an option of ours was given."""
    config.stash[SESSION] = InferbenchSession(config)
    if not hasattr(config, "workerinput"):  # pytest-xdist's workers report to the process that collects
        config.pluginmanager.register(Reporting(config), "inferbench-reporting")
    if given_on_command_line(config):
        _ = config.stash[SESSION].settings


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Keep what was measured only where tests are left that had no turn."""
    ours = session.config.stash.get(SESSION, None)
    cut_short = exitstatus in (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR)
    if ours is not None and not (cut_short or session.shouldstop or session.shouldfail):
        ours.complete()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Clean up behind the session."""
    session = config.stash.get(SESSION, None)
    if session is not None:
        session.close()


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Module | pytest.Class, name: str, obj: object) -> None:
    """Mark async tests that use our fixtures for pytest-asyncio, which decides just after this hook."""
    function = obj.__func__ if isinstance(obj, staticmethod | classmethod) else obj
    if not inspect.iscoroutinefunction(function) or not collector.istestfunction(obj, name):
        return
    marks = {mark.name for mark in (*getattr(function, "pytestmark", ()), *collector.iter_markers())}
    if marks.isdisjoint({"asyncio", "anyio", "trio"}) and not _FIXTURES.isdisjoint(_closure(collector, function)):
        pytest.mark.asyncio(function)


def _closure(collector: pytest.Module | pytest.Class, function: object) -> set[str]:
    """Return the fixtures that a test function uses, through other fixtures too."""
    manager: Any = collector.session._fixturemanager
    # Not told that it is a method: "self" as a fixture does no harm, the loss of a static method's first one would.
    return set(manager.getfixtureinfo(collector, function, None).names_closure)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test once under each selected profile, if there are several."""
    if "inference_service" in metafunc.fixturenames:
        # What is wrong with the configuration is told once, below: here it would be an error of every module.
        with contextlib.suppress(pytest.UsageError):
            selected = metafunc.config.stash[SESSION].settings.selected
            if len(selected) > 1:
                metafunc.parametrize("inference_service", selected, indirect=True, scope="session")


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None, None, None]:
    """Read the configuration if a test needs it: a mistake in it ends the session before anything runs."""
    collected = list(items)  # before anybody deselects
    yield
    if any(_uses_ours(item) for item in items):
        config.stash[SESSION].note_collected(collected)


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> list[str]:
    """Say what is going to be booted and measured, and how long that takes."""
    session = config.stash[SESSION]
    measured = [item for item in items if not set(_WORKLOADS).isdisjoint(getattr(item, "fixturenames", ()))]
    searches = [item for item in items if "capacity" in getattr(item, "fixturenames", ())]
    if not measured and not searches:
        return []
    tests = dict.fromkeys([*measured, *searches])
    settings = session.settings
    repeats, most = settings.repeats, ""
    if settings.budget:
        from pytest_inferbench.judgement.stopping import LOOKS

        repeats, most = settings.most_repeats or LOOKS[-1], "up to "
    boots, seconds = 0, 0.0
    for item in measured:
        profile = _profile(item, settings.selected[0])
        sides = {profile, settings.against or profile}
        # ``workload`` is in the closure of the three: what a test makes with it itself cannot be known here.
        names = [name for name in DEFAULT_WORKLOADS if name in getattr(item, "fixturenames", ())] or ["steady"]
        for name in names:
            configured: Any = settings.project.workloads.get(name, {}).get("duration")
            length = settings.duration or configured or DEFAULT_WORKLOADS[name]["duration"]
            plan = settings.project.warm_up_of(name)
            total = (
                sum(session.overhead(side) + session.warm_up_seconds(side, plan) + length for side in sides) * repeats
            )
            seconds += min(total, settings.budget) if settings.budget else total
            boots += len(sides) * repeats
    # Tests that ask for the same share a search.
    for profile in {_profile(item, settings.selected[0]) for item in searches}:
        search = (_SEARCH_SECONDS + session.warm_up_seconds(profile, settings.project.warmup)) * settings.repeats
        seconds += min(search, settings.budget) if settings.budget else search
    found = f", {len(searches)} of them in search of a capacity" if searches else ""
    reference = f" against {settings.against}" if settings.against else ""
    minutes = "under a minute" if seconds < 60 else f"{most or 'about '}{seconds / 60:.0f} min"
    return [
        f"inferbench: {_count(len(tests), 'test')}{found} under {', '.join(settings.selected)}{reference}, "
        f"{most}{_count(repeats, 'run')} each: {_count(boots, 'boot')}, {minutes}"
    ]


def _profile(item: pytest.Item, default: str) -> str:
    callspec = getattr(item, "callspec", None)
    profile: str = callspec.params.get("inference_service", default) if callspec else default
    return profile


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Note which test runs."""
    if _uses_ours(item):
        item.config.stash[SESSION].begin(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let a failing assert of a verdict show the whole explanation, and attach what was measured to the report."""
    session = item.config.stash[SESSION]
    if call.excinfo and isinstance(call.excinfo.value, InferbenchError) and not item.config.getoption("fulltrace"):
        _shorten(call.excinfo.value)
    failing = session.failing if call.when == "call" else []
    unexplained = [verdict for verdict in failing if not _explain(call.excinfo, repr(verdict))]
    # What a fixture measured is asserted in the test: its verdicts are there when the call is over.
    over = call.when != "setup" or call.excinfo is not None
    taken = session.take() if over else Taken()
    item.user_properties.extend(taken.properties)
    report = yield
    if report.failed:
        report.sections.extend(("inferbench", repr(verdict)) for verdict in unexplained)
    # What travels with the report crosses processes too.
    if taken.measurements or taken.capacities or taken.trouble or taken.notes or _uses_ours(item):
        report.inferbench = dataclasses.asdict(taken)  # type: ignore[attr-defined]
    return report


def _uses_ours(item: pytest.Item) -> bool:
    return not _FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))


def _shorten(error: InferbenchError) -> None:
    """End the traceback where a test or its conftest called us: the message says the rest."""
    before, entry = None, error.__traceback__
    while entry is not None and not Path(entry.tb_frame.f_code.co_filename).is_relative_to(_PACKAGE):
        before, entry = entry, entry.tb_next
    # Behind pytest's own frames, where a fixture of ours failed, there is nothing of the user's to end at.
    if before is not None and "_pytest" not in Path(before.tb_frame.f_code.co_filename).parts:
        before.tb_next = None


def _explain(excinfo: pytest.ExceptionInfo[BaseException] | None, explanation: str) -> bool:
    """Replace pytest's shortened repr of a verdict by the verdict's own lines, if that is what failed."""
    if excinfo is None or not isinstance(excinfo.value, AssertionError) or not excinfo.value.args:
        return False
    head = explanation.partition("\n")[0][:100]
    # "assert <repr>", below the message where the user's assert has one.
    message, _, shortened = f"\n{excinfo.value.args[0]}".rpartition("\nassert ")
    if head not in shortened:
        return False
    excinfo.value.args = (f"{message}\n{explanation}".strip("\n"), *excinfo.value.args[1:])
    return True
