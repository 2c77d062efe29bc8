"""Which systems are measured, by the settings of the session: profiles, another revision, or a running endpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_inferbench.config.profile import REVISION_PREFIX, Profile, did_you_mean
from pytest_inferbench.config.project import Project, read_project
from pytest_inferbench.deployment import Deployment
from pytest_inferbench.deployment.external import ExternalService
from pytest_inferbench.deployment.local import Launch, LocalService
from pytest_inferbench.deployment.revision import Revision
from pytest_inferbench.deployment.scratch import ScratchFolder
from pytest_inferbench.errors import ConfigurationError
from pytest_inferbench.harness.trial import ITSELF, System

if TYPE_CHECKING:
    from pytest_inferbench.deployment.kubernetes.session import ClusterSession

__all__ = ["Systems"]


class Systems:
    """Makes the systems of measurements. Holds a temporary folder for logs and exported revisions until closed."""

    def __init__(
        self,
        project: Project,
        root: Path,
        *,
        against: str | None,
        selfcheck: bool,
        controlled: bool = False,
        url: str | None,
        config: str | None,
        timeout: float,
    ) -> None:
        self._project = project
        self._root = root
        self.controlled = controlled  #: whether the revision of a stored baseline is to be measured beside
        self._against = against
        self._selfcheck = selfcheck
        self._url = url
        self._config = config
        self._timeout = timeout
        self._scratch: ScratchFolder | None = None
        self._cluster: ClusterSession | None = None
        self._boots = count(1)
        self._revisions: dict[str, tuple[Revision, Project, Path]] = {}

    def under_test(self, profile: str) -> System:
        """Return the system under test. Raises ConfigurationError for a profile that is not known."""
        return self._of(self._project, self._root, profile, name=profile)

    def reference(self, profile: str) -> System | None:
        """Return the system that ``profile`` is compared with in this session, None if it is measured alone."""
        if self._selfcheck:
            return replace(self.under_test(profile), name=ITSELF)
        if self._against is None or self._against == profile:
            return None
        if not self._against.startswith(REVISION_PREFIX):
            return self.under_test(self._against)
        return self._at(self._against.removeprefix(REVISION_PREFIX), profile)

    def control(self, profile: str, revision: str | None) -> System:
        """Return the system that a stored baseline was recorded of, from the git description of that checkout.

        Raises ConfigurationError where it cannot be booted here.
        """
        if self._url is not None:
            raise ConfigurationError("an endpoint that runs already has no earlier revision")
        if revision is None:
            raise ConfigurationError("the baseline was recorded outside a git repository")
        if revision.endswith("-dirty"):
            raise ConfigurationError(
                f"the baseline was recorded from a checkout with changes that are in no commit ({revision})"
            )
        return self._at(revision, profile, what="the revision that the baseline was recorded of")

    def is_reference(self, profile: str) -> bool:
        """Return True for the profile that the others of this session are compared with (``--against``)."""
        return self._against == profile

    def close(self) -> None:
        """Remove logs and exported revisions, and what is still in a cluster."""
        if self._cluster is not None:
            self._cluster.close()
            self._cluster = None
        if self._scratch is not None:
            self._scratch.close()
            self._scratch = None

    def _of(self, project: Project, root: Path, profile: str, *, name: str, revision: Revision | None = None) -> System:
        if profile not in project.profiles:
            raise ConfigurationError(f"unknown profile {profile!r}{did_you_mean(profile, project.profiles)}")
        found = project.profiles[profile]
        if self._url is not None:
            return System(name=name, profile=found, deploy=partial(ExternalService, self._url))
        launch = Launch(
            service=project.service,
            command=project.command,
            ready=project.ready,
            cwd=root,
            boot_timeout=self._timeout,
            revision=None if revision is None else revision.label,
        )
        return System(name=name, profile=found, deploy=self._deployer(found, launch))

    def _deployer(self, profile: Profile, launch: Launch) -> Callable[[], Deployment]:
        if profile.deployment.kind == "kubernetes":
            return self._in_a_cluster(profile, launch)

        def deploy() -> Deployment:
            return LocalService(profile, launch, log=self._folder / f"{next(self._boots):03}-{profile.name}.log")

        return deploy

    def _in_a_cluster(self, profile: Profile, launch: Launch) -> Callable[[], Deployment]:
        if launch.revision is not None:
            raise ConfigurationError(
                f"--against {launch.revision.partition(' ')[0]} goes with profiles of kind 'local', and profile "
                f"{profile.name!r} runs an image: build one of that revision, give it to a profile of its own "
                "(deployment.image), and compare with that (--against PROFILE)"
            )
        # Only where it is wanted: it costs a session without a cluster nothing.
        from pytest_inferbench.deployment.kubernetes.service import KubernetesService
        from pytest_inferbench.deployment.kubernetes.session import ClusterSession

        def deploy() -> Deployment:
            if self._cluster is None:
                self._cluster = ClusterSession()
            assert profile.deployment.overlay is not None
            return KubernetesService(
                profile,
                overlay=self._root / profile.deployment.overlay,
                ready=launch.ready,
                boot_timeout=launch.boot_timeout,
                session=self._cluster,
                folder=self._folder,
            )

        return deploy

    @property
    def _folder(self) -> Path:
        if self._scratch is None:
            self._scratch = ScratchFolder()
        return self._scratch.path

    def _at(self, name: str, profile: str, *, what: str = "--against git:{name}") -> System:
        """Return the system of a revision of this project."""
        revision, project, root = self._export(name, what)
        if profile not in project.profiles:
            raise ConfigurationError(
                f"{revision.label} has no profile {profile!r}{did_you_mean(profile, project.profiles)}; compare with a "
                "profile of this checkout instead (--against PROFILE)"
            )
        return self._of(project, root, profile, name=revision.label, revision=revision)

    def _export(self, name: str, what: str) -> tuple[Revision, Project, Path]:
        """Write the revision's files, once, and read the configuration that it has of its own."""
        if name not in self._revisions:
            revision = Revision.find(name, self._root, what=what)
            root = revision.export(self._folder)
            if not root.is_dir():
                raise ConfigurationError(f"{revision.label} has no folder {root.name!r}, where this project is now")
            self._revisions[name] = revision, read_project(root, self._config), root
        return self._revisions[name]
