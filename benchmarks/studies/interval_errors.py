"""How often the one-sided bound of a change errs, for pairs of normal figures that share more or less.

    python benchmarks/studies/interval_errors.py [--draws 10000] [--seed 0]

Prints a Markdown table: shares of n simulated comparisons, in per cent, in which the lower 95 % bound of
`mean_of_changes` lies above the true change, with their exact 95 % intervals.
"""

from __future__ import annotations

import argparse
import itertools

import numpy as np
from gate_calibration import share, table

from pytest_inferbench.stats.paired import mean_of_changes

RULES = {"requests shared": True, "not known (F test)": None, "Welch": False}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    n, rng = options.draws, np.random.default_rng(options.seed)
    rows = []
    for pairs, common in itertools.product((2, 3, 5, 8, 12), (0.0, 0.5, 1.0, 2.0)):
        luck = common * rng.standard_normal((n, pairs))
        before, after = (luck + rng.standard_normal((n, pairs)) for _ in range(2))
        wrong = dict.fromkeys(RULES, 0)
        for first, second in zip(before, after, strict=True):
            for name, shared in RULES.items():
                wrong[name] += mean_of_changes(first, second, shared=shared).interval(0.05)[0] > 0
        rows.append([str(pairs), f"{common:g}", *(share(count, n) for count in wrong.values())])
    print(f"n = {n} comparisons per cell, seed {options.seed}; nominal 5 %\n")
    table(["pairs", "what pairs share (sd, in sd of a boot)", *RULES], rows)


if __name__ == "__main__":
    main()
