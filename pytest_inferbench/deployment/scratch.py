"""A temporary folder that is gone when its owner is, even if the owner was killed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from pytest_inferbench.deployment import janitor

__all__ = ["ScratchFolder"]


class ScratchFolder:
    """Made at once; removed by :meth:`close`, or when this process ends for whatever reason."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="inferbench-"))
        self._janitor = subprocess.Popen(
            [sys.executable, "-P", "-S", janitor.__file__, str(self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def close(self) -> None:
        """Remove the folder with everything in it."""
        if self._janitor.stdin is not None:
            self._janitor.stdin.close()
        self._janitor.wait()
