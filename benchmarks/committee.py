"""The committee of several trainings of a recipe, and its members, on the recipe's test data.

    python benchmarks/committee.py RUN... --runs runs/committee

Writes the mean of the members' probabilities as one export, as `zoo ensemble` does, and scores it and each member.
`python -m zoo.report RUNS/committee RUNS/member-*` adds the results to results.csv, from where docs/exports.md has
them.
"""

import argparse
import os
from pathlib import Path

import zoo
from zoo.tasks.table import load_predictor
from zoo.training.run_folder import read_json, write_json
from zoo.weights.exports import find_export

METRIC = "test_accuracy"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("members", nargs="+", type=Path, metavar="RUN", help="finished runs of one recipe")
    parser.add_argument("--runs", type=Path, required=True, help="folder for the ensemble and the results")
    options = parser.parse_args()
    rows = [read_json(run / "result.json")["rows"][0] for run in options.members]
    recipe, count = rows[0]["recipe"], len(rows)
    options.runs.mkdir(parents=True, exist_ok=True)
    committee = zoo.ensemble(options.members, options.runs / f"{recipe}_x{count}")
    command = " ".join(["python", "benchmarks/committee.py", *map(str, options.members), "--runs", str(options.runs)])
    common = {"dataset": f"{rows[0]['dataset']}, {count} nets", "metric": METRIC, "paper": None, "command": command}
    for number, (run, row) in enumerate(zip(options.members, rows, strict=True)):
        score = load_predictor(find_export(run)).evaluate()[METRIC]
        write(options.runs / f"member-{number}", {**row, **common, "recipe": f"member/{recipe}", "value": score})
    totals = {key: sum(row[key] for row in rows) for key in ("seconds", "steps", "planned_steps")}
    score = load_predictor(committee).evaluate()[METRIC]
    write(options.runs / "committee", {**rows[0], **totals, **common, "recipe": f"committee/{recipe}", "value": score})


def write(folder: Path, row: dict) -> None:
    folder.mkdir(exist_ok=True)
    write_json(folder / "result.json", {"rows": [row]})
    print(row["recipe"], row["seed"], row["value"])


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
