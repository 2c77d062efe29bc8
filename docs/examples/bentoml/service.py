"""A BentoML service that reads its profile and reports where the time is spent."""

import json
import os
import time

import bentoml

PROFILE = json.loads(os.environ.get("INFERBENCH_PROFILE", "{}"))
ROUNDS = PROFILE.get("runtime", {}).get("rounds", 200)


@bentoml.service(workers=PROFILE.get("deployment", {}).get("workers", 1))
class Scorer:
    @bentoml.api
    def score(self, text: str, context: bentoml.Context) -> dict[str, float]:
        started = time.perf_counter()
        value = 0
        for _ in range(ROUNDS):  # a real service would run its model here
            value = (value * 31 + sum(map(ord, text))) % 1009
        spent = 1000 * (time.perf_counter() - started)
        context.response.headers["Server-Timing"] = f"infer;dur={spent:.3f}"
        return {"score": value / 1009}
