"""`python -m benchmarks`: run the cases, and write the page and its plots."""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import (
    environment,
    graph,
    hybrid,
    ingest,
    jsonl,
    quality,
    reads,
    text,
    transfer,
    vectors,
)
from benchmarks.case import Case, Result
from benchmarks.data import ROOT
from benchmarks.measure import Skipped
from benchmarks.plots import plot
from benchmarks.report import markdown, shown
from benchmarks.workbench import Workbench

SUBJECTS: Mapping[str, Sequence[Case]] = {
    "ingest": ingest.CASES,
    "reads": reads.CASES,
    "vectors": vectors.CASES,
    "text": text.CASES,
    "hybrid": hybrid.CASES,
    "quality": quality.CASES,
    "transfer": transfer.CASES,
    "jsonl": jsonl.CASES,
    "graph": graph.CASES,
}
SETTINGS = ("DATASTORE_", "DATABASE_URL", "PG_", "SQLITE_")


def main() -> int:
    """Return 1 where a case failed; a target that is not reached is a result like any other."""
    arguments = _arguments()
    results: dict[str, list[Result]] = {}
    with TemporaryDirectory(prefix="datastore-") as folder, Workbench(arguments.quick) as bench:
        _forget_settings(folder)
        facts = environment.describe(bench.server)
        for subject, cases in _chosen(arguments.only).items():
            results[subject] = [_run(bench, case) for case in cases]
            bench.end_subject()
        if arguments.output is not None:
            _write(arguments.output, results, facts, bench)
    return int(any(result.failed for of_subject in results.values() for result in of_subject))


def _arguments() -> argparse.Namespace:
    names = ", ".join(case.name for cases in SUBJECTS.values() for case in cases)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=f"Subjects: {', '.join(SUBJECTS)}. Cases: {names}.",
    )
    parser.add_argument("--quick", action="store_true", help="few rows and rounds, for a look")
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="a subject or a case; may be repeated"
    )
    parser.add_argument(
        "--output",
        type=lambda path: Path(path).resolve(),
        metavar="FOLDER",
        help="where benchmarks.md and its plots go: docs, unless --quick or --only is given",
    )
    arguments = parser.parse_args()
    if arguments.only and not any(_chosen(arguments.only).values()):
        parser.error(f"--only: there is no {', '.join(arguments.only)}")
    if arguments.output is None and not arguments.quick and not arguments.only:
        arguments.output = ROOT / "docs"
    return arguments


def _chosen(only: Sequence[str] | None) -> dict[str, list[Case]]:
    chosen = {
        subject: [case for case in cases if not only or {subject, case.name} & set(only)]
        for subject, cases in SUBJECTS.items()
    }
    return {subject: cases for subject, cases in chosen.items() if cases}


def _forget_settings(elsewhere: str) -> None:
    """Let no variable, `.env` or `config.yaml` have a say."""
    for name in list(os.environ):
        if name.startswith(SETTINGS):
            del os.environ[name]
    os.chdir(elsewhere)


def _run(bench: Workbench, case: Case) -> Result:
    start = time.perf_counter()
    try:
        result = Result(case, case.function(bench))
    except Skipped as reason:
        result = Result(case, None, skipped=f"skipped: {reason}")
    except Exception as error:
        traceback.print_exc()
        result = Result(case, None, failed=f"failed: {type(error).__name__}")
    print(f"{case.name:24} {_told(result)}  [{time.perf_counter() - start:.0f} s]", flush=True)
    return result


def _told(result: Result) -> str:
    if result.outcome is None:
        return result.failed or result.skipped
    answer = {True: "reached", False: "NOT REACHED", None: ""}[result.is_reached]
    outcome, target = result.outcome, result.case.target
    bars = ", ".join(f"{bar.name} {bar.value:.4g}" for bar in outcome.bars)
    told = [f"{c.name} {c.figure:.4g}" for c in outcome.conditions]
    lines = [f"{shown(outcome.figure, target)} (target {target or 'none'}) {answer}"]
    lines.append(f"{bars} {outcome.unit}; {'; '.join([*told, *outcome.notes])}")
    return "\n    ".join(lines)


def _write(
    folder: Path,
    results: Mapping[str, Sequence[Result]],
    facts: Mapping[str, str],
    bench: Workbench,
) -> None:
    plots = folder / "benchmarks"
    plots.mkdir(parents=True, exist_ok=True)
    for subject, of_subject in results.items():
        (plots / f"{subject}.svg").write_text(plot(of_subject), encoding="utf-8")
    page = markdown(results, facts, quick=bench.quick, rounds=bench.rounds, plots=plots.name)
    (folder / "benchmarks.md").write_text(page, encoding="utf-8")
    print(f"written: {folder / 'benchmarks.md'}")


if __name__ == "__main__":
    sys.exit(main())
