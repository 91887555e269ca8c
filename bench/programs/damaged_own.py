"""A measured program: what casparian's readers make of damaged files, judged file by file.

Arguments: `{"format": "csv" | "fixed width" | …, "way": "declared" | "detected", "files", "seed"}`; answers with the score, as
`damaged_csv` does, or with `unavailable`.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from bench.damage import Case, Format, Score, cases_of, csv_cases, judge, sample
from bench.damage.own import read_case, read_detected
from bench.programs.damaged_csv import scored


def chosen(format: Format, files: int, seed: int) -> list[Case]:
    """The cases of one format; those of CSV are the ones that the peers get."""
    return sample(csv_cases(seed, is_rare_included=False) if format == "csv" else cases_of(format, seed), files, seed)


def score_of(format: Format, way: str, files: int, seed: int) -> dict[str, Any]:
    score, read = Score(), read_detected if way == "detected" else read_case
    for case in chosen(format, files, seed):
        score.add(judge(case, read(case)))
    return scored(score)


def main() -> None:
    given = json.loads(sys.argv[1])
    try:
        answer = score_of(given["format"], given["way"], given["files"], given["seed"])
    except NotImplementedError as unread:
        answer = {"unavailable": str(unread)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
