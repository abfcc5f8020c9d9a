"""Mutation testing of what decides about numbers: `make mutants` changes one place of the code, and a test must fail.

    python tests/mutants.py [--count 120] [--seed 0] [--report docs/mutants.md]

Cosmic Ray makes the changes: another operator, comparison, number, condition or loop. There are thousands, so a sample
is drawn by seed, from all modules in proportion to their number of places. The tests run once with their coverage
recorded per test. Of each change then only the tests of its line run, those that cover few lines first, and after them
those of its file, until one fails. A change that none of them notices has survived, and so has one in a file that no
test reaches.

The code is changed in a copy of the checkout. A stopped run goes on where it was: the copy, the coverage and the
results so far lie in `build/mutants`.
"""

import argparse
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast_from_path
from cosmic_ray.mutating import mutate_code, use_mutation
from cosmic_ray.plugins import get_operator, operator_names

ROOT = Path(__file__).parent.parent
WORK = ROOT / "build" / "mutants"
COPY = WORK / "checkout"
COVERAGE = WORK / "coverage.sqlite"
LOG = WORK / "tests.log"
RESULTS = WORK / "results.jsonl"
PACKAGES = ("training", "tasks", "data", "weights")
MOST_TESTS = 150
DEFAULTS = "tests/test_recipe.py::test_the_page_of_fields_is_generated"  # of the fields of recipes
SECONDS = 240  # for the tests of a change; many are cheap, and those run first
# In annotations "int | None" any other operator fails at import; a decorator's removal and an `is` for `==` of small
# values say nothing about the tests.
LEFT_OUT = ("BinaryOperator_BitOr", "RemoveDecorator", "_Eq_Is", "_NotEq_Is")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=120, help="changes to try")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--report", type=Path, help="write this page")
    arguments = parser.parse_args()
    copy_checkout()
    changes = sample(arguments.count, arguments.seed)
    reach, tests = record_coverage()
    results = read_results()
    for number, change in enumerate(changes, start=1):
        key = describe(change)
        if key not in results:
            results[key] = try_out(change, reach, tests)
            with RESULTS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(results[key]) + "\n")
        print(f"{number}/{len(changes)} {results[key]['outcome']}: {key}", flush=True)
    done = [row for change in changes if (row := results[describe(change)])["outcome"] != "impossible"]
    page = report(done, arguments.seed)
    if arguments.report:
        arguments.report.write_text(page, encoding="utf-8")
    print(page)
    return 0 if share_caught(done) >= 0.9 else 1


def copy_checkout() -> None:
    """A copy of what git has, in which the modules are changed; an unchanged copy is kept."""
    commit = git("rev-parse", "HEAD")
    if git("status", "--porcelain", "--", "zoo", "tests"):
        sys.exit("error: zoo/ or tests/ has changes that are not committed; the sample belongs to a commit")
    stamp = WORK / "commit"
    if stamp.exists() and stamp.read_text() == commit:
        subprocess.run(["git", "-C", COPY, "checkout", "--quiet", "--force", commit], check=True)
        return
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    subprocess.run(["git", "clone", "--quiet", ROOT, COPY], check=True)
    stamp.write_text(commit)


def git(*arguments: str) -> str:
    return subprocess.run(["git", "-C", ROOT, *arguments], check=True, capture_output=True, text=True).stdout.strip()


def sample(count: int, seed: int) -> list[dict]:
    """Changes drawn at random: first a place of the code, then one of the changes that it admits."""
    places = defaultdict(list)
    for package in PACKAGES:
        for path in sorted((COPY / "zoo" / package).rglob("*.py")):
            nodes = list(ast_nodes(get_ast_from_path(path)))
            for name in sorted(operator_names()):
                if any(part in name for part in LEFT_OUT) or get_operator(name).arguments():
                    continue
                operator = get_operator(name)()
                found = (place for node in nodes for place in operator.mutation_positions(node))
                for occurrence, (start, end) in enumerate(found):
                    change = {"file": str(path.relative_to(COPY)), "operator": name, "occurrence": occurrence}
                    places[change["file"], start, end].append({**change, "line": start[0]})
    generator = random.Random(seed)
    order = sorted(places)
    generator.shuffle(order)  # so that a larger sample holds the smaller one
    return [generator.choice(places[place]) for place in order[:count]]


def describe(change: dict) -> str:
    return f"{change['file']}:{change['line']} {change['operator'].removeprefix('core/')} {change['occurrence']}"


def record_coverage() -> tuple[Counter, dict[str, dict[int, list[str]]]]:
    """How many lines each test reaches; and for each file and line, the tests that reach it, fewest lines first."""
    if not COVERAGE.exists():
        options = [f"--cov=zoo/{package}" for package in PACKAGES]
        if run_tests(["-n", "2", "-m", "not full", *options, "--cov-context=test", "--cov-report="]):
            sys.exit(f"error: the tests fail on the unchanged code; see {LOG}")
        (COPY / ".coverage").replace(COVERAGE)
    from coverage.numbits import numbits_to_nums

    with sqlite3.connect(COVERAGE) as database:
        rows = database.execute(
            "select path, context, numbits from line_bits join file on file.id = file_id "
            "join context on context.id = context_id where context != ''"
        ).fetchall()
    reach, tests = Counter(), defaultdict(lambda: defaultdict(set))
    for path, context, numbits in rows:
        lines, test = numbits_to_nums(numbits), context.split("|")[0]
        reach[test] += len(lines)
        for line in lines:
            tests[str(Path(path).relative_to(COPY))][line].add(test)
    return reach, {
        file: {line: sorted(found, key=lambda test: (reach[test], test)) for line, found in lines.items()}
        for file, lines in tests.items()
    }


def try_out(change: dict, reach: Counter, tests: dict[str, dict[int, list[str]]]) -> dict:
    path, lines = COPY / change["file"], tests.get(change["file"], {})
    # A definition's own line runs at import, before any test; the tests of the line after it stand for it.
    line = next((n for n in range(change["line"], change["line"] + 8) if n in lines), None)
    reaching = lines.get(line, [])[:MOST_TESTS]
    # What is traced into a graph, or done in a fixture or at import, runs in one test and is looked at by others.
    others = sorted({test for found in lines.values() for test in found if test not in reaching}, key=reach.get)
    chosen = [*([DEFAULTS] if path.name == "recipe.py" else []), *reaching, *others][:MOST_TESTS]
    before, operator = path.read_text(encoding="utf-8"), get_operator(change["operator"])()
    try:
        after = mutate_code(before, operator, change["occurrence"])
    except AttributeError:  # Cosmic Ray cannot replace an exception with a dotted name
        return {**change, "outcome": "impossible", "tests": 0, "change": []}
    changed = next(pair for pair in zip(before.splitlines(), after.splitlines(), strict=False) if pair[0] != pair[1])
    with use_mutation(path, operator, change["occurrence"]):
        outcome = "caught" if chosen and run_tests(["-x", *chosen]) else "survived"
    return {**change, "outcome": outcome, "tests": len(chosen), "change": [text.strip() for text in changed]}


def run_tests(arguments: list[str]) -> int:
    """Runs pytest in the copy and returns its status; 0 also if none failed within the time limit of a change."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    path = os.pathsep.join(filter(None, (str(COPY), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    limit = SECONDS if "-x" in arguments else None
    try:
        with LOG.open("w", encoding="utf-8") as log:
            done = subprocess.run(command, cwd=COPY, env=environment, timeout=limit, stdout=log, stderr=log)
        return done.returncode
    except subprocess.TimeoutExpired:
        return 0


def read_results() -> dict[str, dict]:
    if not RESULTS.exists():
        return {}
    return {describe(row): row for row in map(json.loads, RESULTS.read_text(encoding="utf-8").splitlines())}


def share_caught(results: list[dict]) -> float:
    return sum(row["outcome"] == "caught" for row in results) / len(results)


def report(results: list[dict], seed: int) -> str:
    left = [row for row in results if row["outcome"] == "survived"]
    caught = len(results) - len(left)
    lines = [
        "# Mutation testing",
        "",
        f"`make mutants` changed the code in {len(results)} places of `zoo/training`, `zoo/tasks`, `zoo/data` and "
        f"`zoo/weights`, drawn with seed {seed}, at commit `{git('rev-parse', '--short', 'HEAD')}`. "
        f"The tests noticed {caught} of them ({share_caught(results):.0%}). "
        f"At most {MOST_TESTS} tests and {SECONDS} seconds are spent on a change.",
        "",
        "| package | changes | noticed |",
        "|---|---:|---:|",
    ]
    for package in PACKAGES:
        rows = [row for row in results if row["file"].startswith(f"zoo/{package}/")]
        lines.append(f"| `zoo/{package}` | {len(rows)} | {sum(row['outcome'] == 'caught' for row in rows)} |")
    lines += ["", "## Not noticed", "", "| place | before | after |", "|---|---|---|"]
    for row in sorted(left, key=describe):
        before, after = (text.replace("|", "\\|") for text in row["change"])
        lines.append(f"| `{row['file']}:{row['line']}` | `{before}` | `{after}` |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
