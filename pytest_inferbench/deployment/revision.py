"""Another revision of the project under test, as files in a folder of their own."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pytest_inferbench.errors import ConfigurationError

__all__ = ["Revision"]

_SHORT = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A commit of the repository that holds the project. ``name`` is what the user called it ("main")."""

    name: str
    commit: str
    repository: Path
    project: Path

    @classmethod
    def find(cls, name: str, project: Path, *, what: str = "--against git:{name}") -> Revision:
        """Look ``name`` up in the repository around ``project``. Raises ConfigurationError with the way out.

        ``what``: how the message begins.
        """
        what = what.format(name=name)
        top = _git(project, "rev-parse", "--show-toplevel")
        if top.returncode:
            raise ConfigurationError(f"{what}: {project} is not in a readable git repository ({_message(top)})")
        found = _git(project, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        repository = Path(top.stdout.strip())
        if found.returncode or not name:
            shallow = _git(project, "rev-parse", "--is-shallow-repository").stdout.strip() == "true"
            advice = (
                f"this checkout is shallow: fetch it with `git fetch --depth=1 origin {name}` and compare with "
                "git:FETCH_HEAD, or fetch everything with `git fetch --unshallow` (in GitHub Actions: "
                "actions/checkout with fetch-depth: 0)"
                if shallow
                else "see `git branch --all` and `git log`; a branch that is only on the remote is called origin/NAME"
            )
            raise ConfigurationError(f"{what}: {repository} has no such revision; {advice}")
        return cls(name=name, commit=found.stdout.strip(), repository=repository, project=project.resolve())

    @property
    def label(self) -> str:
        """What reports call it: ``"git:main (1a2b3c4d5e)"``."""
        return f"git:{self.name} ({self.commit[:_SHORT]})"

    def export(self, folder: Path) -> Path:
        """Write the revision's files below ``folder``, and return where the project is there.

        Through an index of its own: the user's checkout, index and list of worktrees are not touched.
        """
        tree = folder / f"revision-{self.commit[:_SHORT]}"
        index = {"GIT_INDEX_FILE": str(folder / f"index-{self.commit[:_SHORT]}")}
        for arguments in (("read-tree", self.commit), ("checkout-index", "--all", f"--prefix={tree}/")):
            done = _git(self.repository, *arguments, environment=index)
            if done.returncode:
                raise ConfigurationError(f"cannot export {self.label} into {folder}: {_message(done)}")
        return tree / self.project.relative_to(self.repository.resolve())


def _git(
    directory: Path, *arguments: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["git", "-C", str(directory), *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except OSError as error:
        return subprocess.CompletedProcess(["git"], 127, "", f"git cannot be run: {error.strerror}")


def _message(done: subprocess.CompletedProcess[str]) -> str:
    return done.stderr.strip().splitlines()[0] if done.stderr.strip() else f"exit status {done.returncode}"
