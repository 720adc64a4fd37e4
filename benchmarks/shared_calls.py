"""How many model calls a grid costs: the conditions of the default grid together, and each on its own.

    python benchmarks/shared_calls.py [--replicates 1]

A call's key holds no condition, so conditions share the calls on whose prompts they agree. Counted are
distinct calls (those that reach a model): of the whole grid in one journal, of its conditions each with a
journal of its own, added up, and of the grid with one budget only (100 %), which is every policy once. The
target: the grid costs at most 1.1 times what its policies need once. Counts repeat exactly.
"""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import replace

from measuring import facts, number, run_lessons, study_of, table


def count(replicates: int) -> None:
    """Print the table."""
    whole = study_of(f"replicates={replicates}")
    grid = asyncio.run(run_lessons(whole))
    alone = [asyncio.run(run_lessons(replace(whole, setups=(setup,)))) for setup in whole.setups]
    narrow = study_of(f"replicates={replicates}", "matrix.budget.interventions=[100%]")
    once = asyncio.run(run_lessons(narrow))
    apart = sum(batch.sent for batch in alone)
    rows = [
        (what, conditions, f"{requests:,}", f"{sent:,}", number(sent / once.sent))
        for what, conditions, requests, sent in (
            ("each condition on its own, added up", len(alone), sum(b.requests for b in alone), apart),
            ("the grid", len(whole.setups), grid.requests, grid.sent),
            ("every policy once, at a budget of 100 %", len(narrow.setups), once.requests, once.sent),
        )
    ]
    print(table(("what runs", "conditions", "requests of agents", "distinct calls", "by once"), rows))
    print(f"\nThe grid costs {number(grid.sent / apart)} of its conditions' sum ({replicates} replicates).")
    print(f"\n{facts()}")


def main() -> None:
    """Read the command line and count."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--replicates", type=int, default=1, help="of every condition")
    count(parser.parse_args().replicates)


if __name__ == "__main__":
    main()
