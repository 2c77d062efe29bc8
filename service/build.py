"""``python -m service.build``: build the model and a runtime's artifacts ahead of time.

A service builds what is missing when it boots; after this there is nothing missing, and the boot takes seconds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from service import engines
from service.errors import ServiceError
from service.model import artifacts, cache, source
from service.settings import Profile, RuntimeSettings


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 1 with one line of error."""
    parser = argparse.ArgumentParser(prog="python -m service.build", description=__doc__)
    parser.add_argument("--model", help=f"embedded, embedded:SIZE, a folder or a hub id (default: ${source.MODEL_ENV})")
    parser.add_argument("--profile-json", action="append", metavar="JSON", help="a resolved profile; repeatable")
    parser.add_argument("--all", action="store_true", help="every artifact of every engine")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    try:
        for runtime in _runtimes(options.profile_json, every=options.all):
            engines.prepare(runtime, options.model)
        found = source.resolve(options.model, deep=False)
        print(f"{found.name}: {found.folder}")
        for precision in ("fp32", "int8"):
            key = cache.key_of(version=artifacts.ARTIFACT_VERSION, source=found.digest, precision=precision)
            entry = cache.find(cache.default_root(), f"onnx-{precision}", key, deep=False)
            if entry is not None:
                print(artifacts.describe(entry))
    except ServiceError as error:
        print(f"service: error: {error}", file=sys.stderr)
        return 1
    print(f"ready after {time.monotonic() - started:.1f} s")
    return 0


def _runtimes(profiles: Sequence[str] | None, *, every: bool) -> list[RuntimeSettings]:
    if every:
        # int8 is made from fp32, and fp32 from what eager PyTorch loads.
        return [RuntimeSettings(), RuntimeSettings(engine="onnxruntime", precision="int8")]
    if profiles:
        return [Profile.from_json(text).runtime for text in profiles]
    return [Profile.from_environment().runtime]


if __name__ == "__main__":
    raise SystemExit(main())
