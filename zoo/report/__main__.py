"""`python -m zoo.report RUN…` adds the results of finished runs to results.csv and their pictures to
docs/models/images, and writes the tables of README.md, docs/ and saved_models/README.md, the models' pages and the
checksums of the pretrained exports again."""

import sys
from pathlib import Path

import zoo
from zoo.errors import ZooError
from zoo.report.pages import write_pages
from zoo.report.pictures import copy_pictures
from zoo.report.results import (
    COMMITTEES,
    FINETUNING,
    add_results,
    comparison_table,
    exports_table,
    full_tables,
    read_results,
    short_runs_table,
    summary_table,
    write_table,
)
from zoo.weights.store import describe_exports

root = Path(zoo.__file__).parent.parent
runs = [Path(run) for run in sys.argv[1:]]
try:
    add_results(runs, root / "results.csv")
except ZooError as error:
    sys.exit(f"error: {error}")
copy_pictures(runs, root / "docs" / "models" / "images")
rows = read_results(root / "results.csv")
write_table(root / "README.md", summary_table(rows))
write_table(root / "docs" / "results.md", full_tables(rows))
write_table(root / "docs" / "finetuning.md", comparison_table(rows, FINETUNING))
write_table(root / "docs" / "exports.md", comparison_table(rows, COMMITTEES))
write_table(root / "docs" / "short-runs.md", short_runs_table(rows))
write_table(root / "saved_models" / "README.md", exports_table(root / "saved_models"))
(root / "zoo" / "weights" / "exports.json").write_text(describe_exports(root / "saved_models"), encoding="utf-8")
write_pages(root / "docs", rows)
