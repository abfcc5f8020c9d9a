"""The page of each model, docs/models/NAME.md, and the gallery, docs/index.md, from cards, recipes and results."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from zoo.building import build
from zoo.models.summary import TABLE_NOTES, layer_table, table_cells
from zoo.recipe import OWN_FILES, load_recipe, load_script
from zoo.registry import APPLICATIONS, Card, builder_of, describe, list_models
from zoo.report.results import best_row, is_comparison, is_complete, model_table

GENERATED = "<!-- written by `make results` -->"
# The gallery in the order of history: a title, and the families below it.
HISTORY = (
    ("One layer", ("perceptron", "softmax_regression")),
    ("Multi-layer perceptrons", ("mlp",)),
    ("Convolutional networks for digits", ("lenet",)),
    ("Deep convolutional networks", ("alexnet", "nin", "vgg", "all_cnn", "inception")),
    ("Residual and separable networks", ("resnet", "xception", "mobilenet", "airbench")),
    ("Recurrent networks for text", ("char_rnn", "bilstm")),
    ("Sequence to sequence", ("seq2seq",)),
)
SEQUENCES = {("T",): "a sequence of any length", ("S, T",): "a source and a target sequence of any lengths"}
LONG_TABLE = 60  # layers; a longer table is folded
PICTURES = {
    "curves": "Learning curves",
    "confusion": "Confusion matrix of the test split",
    "attention": "Attention of some test examples",
}


def write_pages(docs: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Writes docs/index.md and docs/models/*.md from cards, recipe scripts and the rows of results.csv."""
    folder = docs / "models"
    folder.mkdir(exist_ok=True)
    names = list_models()
    for page in folder.glob("*.md"):
        if page.stem not in names:
            page.unlink()
    for name in names:
        (folder / f"{name}.md").write_text(model_page(name, rows, docs), encoding="utf-8")
    (docs / "index.md").write_text(gallery(rows, docs), encoding="utf-8")


def gallery(rows: Sequence[Mapping[str, str]], docs: Path) -> str:
    """docs/index.md: a line for each model, grouped as in `HISTORY`."""
    text = ["# Models", "", GENERATED, ""]
    text += [
        "One line per model, the oldest kind first. The score is the best of the model's recipes that were trained to",
        "their last step, on the data of the first of these; a dash means that there is none yet. The recipe's header",
        "names the source of the published score, which is not always the paper of the model; for a `_fast` or `_long`",
        "recipe it is the score of the paper's own recipe. The page of a model has its layers, its recipes, all its",
        "results and the commands to use it.",
    ]
    for title, families in HISTORY:
        text += ["", f"## {title}", ""]
        text += ["| model | year | paper | recipe | metric | published | ours |", "|---|---|---|---|---|---:|---:|"]
        for card in (describe(name) for family in families for name in _by_year(family)):
            score = best_row(rows, card.name, card.recipes) or ("–",) * 4
            cells = [f"[{card.name}](models/{card.name}.md)", str(card.year or ""), _cited(card), *score]
            text.append(f"| {' | '.join(cells)} |")
        for recipe in (recipe for family in families for name in _by_year(family) for recipe in describe(name).recipes):
            picture = docs / "models" / "images" / f"{recipe}_curves.png"
            if picture.exists():
                image = f'<img src="models/images/{picture.name}" alt="Learning curves of {recipe}" width="360">'
                text += ["", f"`{recipe}`:", "", image]
    return "\n".join(text) + "\n"


def _by_year(family: str) -> list[str]:
    return sorted(
        list_models(family=family), key=lambda name: (describe(name).year or 0, describe(name).parameters or 0)
    )


def _cited(card: Card) -> str:
    if not card.authors:
        return "–"
    names = [author.split()[-1] for author in card.authors]
    who = names[0] if len(names) == 1 else " & ".join(names) if len(names) == 2 else f"{names[0]} et al."
    return f"[{who}]({card.link})" if card.link else who


def model_page(name: str, rows: Sequence[Mapping[str, str]], docs: Path) -> str:
    """docs/models/NAME.md: what the model is, its results, how to use it, its recipes and its layers."""
    card = describe(name)
    parts = [
        [f"# {name}", "", GENERATED, "", f"{card.summary[:1].upper()}{card.summary[1:]}."],
        _facts(card),
        ["## Differences from the paper", "", *([f"- {text}" for text in card.differences] or ["None known."])],
        ["## Results", "", *_results(card, rows)],
        *_pictures(card, docs),
        ["## Use", "", *_use(card, rows)],
        *_recipes(card),
        ["## Layers", "", *_layers(name)],
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _facts(card: Card) -> list[str]:
    paper = f"{', '.join(card.authors)}: {card.title}. {card.venue}" + (f" ({card.year})" if card.year else "")
    others = [f"[{name}]({name}.md)" for name in _by_year(card.family) if name != card.name]
    facts = [
        ("paper", f"[{paper}]({card.link})" if card.link else paper if card.title else ""),
        ("task", card.task.replace("_", " ")),
        ("input", SEQUENCES.get(card.input_shape) or " × ".join(map(str, card.input_shape or ()))),
        ("parameters", f"{card.parameters:,}, of which {card.trainable:,} are trained" if card.parameters else ""),
        ("multiply-accumulates", f"{card.macs:,} per {card.unit}" if card.macs else ""),
        ("also in this family", ", ".join(others)),
        ("licence of the code", card.licence),
    ]
    return ["| | |", "|---|---|", *(f"| {label} | {text} |" for label, text in facts if text)]


def _results(card: Card, rows: Sequence[Mapping[str, str]]) -> list[str]:
    own = [row for row in rows if row["model"].partition("(")[0] == card.name and not is_comparison(row)]
    complete, short = [row for row in own if is_complete(row)], [row for row in own if not is_complete(row)]
    if complete:
        text = [
            "Runs to the last step of the recipe, mean ± standard deviation over runs:",
            "",
            *model_table(complete),
            *_arguments(card, complete),
        ]
    elif card.recipes:
        text = ["No run has reached the last step of a recipe yet."]
    else:
        text = ["This model has no recipe of its own and no result."]
    if short:
        text += [
            "",
            "Runs that were stopped early, which do not show what the recipe reaches:",
            "",
            *model_table(short),
        ]
    return text


def _arguments(card: Card, rows: Sequence[Mapping[str, str]]) -> Iterable[str]:
    """A line for each recipe that gives its model arguments."""
    calls: dict[str, list[str]] = {}
    for row in rows:
        if "(" in row["model"] and row["model"] not in calls.setdefault(row["recipe"], []):
            calls[row["recipe"]].append(row["model"])
    for recipe, models in calls.items():
        if len(models) == 1:  # of several, the table shows the arguments
            same = build(card.name, **load_recipe(recipe).model_args).count_params() == card.parameters
            sizes = "" if same else ", so that its sizes are not those above"
            yield from ["", f"`{recipe}` trains `{models[0]}`{sizes}."]


def _pictures(card: Card, docs: Path) -> Iterable[list[str]]:
    for recipe in card.recipes:
        found = []
        for kind, label in PICTURES.items():
            path = docs / "models" / "images" / f"{recipe}_{kind}.png"
            if path.exists():
                found += ["", f"![{label} of {recipe}](images/{path.name})"]
        if found:
            yield [f"Pictures of a run of `{recipe}`:", *found]


def _train(recipe: str) -> str:
    own_data = load_recipe(recipe).data.endswith(":PATH")
    return f"zoo train {recipe}" + (f" --dataset {load_recipe(recipe).data}" if own_data else "")


def _use(card: Card, rows: Sequence[Mapping[str, str]]) -> list[str]:
    tags = list(card.weights)
    best = best_row(rows, card.name, card.recipes)
    trained = [f"runs/{recipe}/latest" for recipe in ([best[0].strip("`")] if best else card.recipes[:1])]
    lines = [f'model = zoo.build("{card.name}")  # not trained']
    for tag, export in card.weights.items():
        origin = "the weights of Keras Applications, downloaded" if export == APPLICATIONS else f"trained by {export}"
        lines.append(f'model = zoo.build("{card.name}", weights="{tag}")  # {origin}')
    text = ["Build it in Python:", "", "```python", "import zoo", "", *lines, "```"]
    commands = [(_train(recipe), "") for recipe in card.recipes] or _borrowed(card)
    if commands:
        text += ["", "Train it:", "", *_commands(commands)]
    parents = [f"{card.name}:{tag}" for tag in tags] or trained
    if parents:
        source = "" if tags else ", after the training above"
        text += ["", f"Fine-tune it on your own data{source}:", ""]
        text += _commands([(f"zoo finetune {parent} --dataset {OWN_FILES[card.task]}", "") for parent in parents])
    exports = [export for export in card.weights.values() if export != APPLICATIONS]
    exports = exports or trained
    if exports:
        example = "picture.png" if card.task == "image_classification" else '--text "…"'
        served = "saved_models" if not exports[0].startswith("runs/") else exports[0]
        source = "" if served == "saved_models" else ", after the training above"
        text += ["", f"Predict and serve{source}:", ""]
        text += _commands(
            [*((f"zoo predict {export} {example}", "") for export in exports), (f"zoo serve {served}", "")]
        )
    return text


def _commands(commands: Iterable[tuple[str, str]]) -> list[str]:
    return [f"    {command}" + (f"  # {comment}" if comment else "") for command, comment in commands]


def _borrowed(card: Card) -> list[tuple[str, str]]:
    """For a model without a recipe, one that fits its input and its arguments, of the model next to it in size."""
    accepted = inspect.signature(builder_of(card)).parameters
    family = [describe(name) for name in _by_year(card.family)]
    for other in sorted(family, key=lambda other: abs((other.parameters or 0) - (card.parameters or 0))):
        if (other.task, other.input_shape) != (card.task, card.input_shape):
            continue
        for recipe in other.recipes:
            if set(load_script(recipe).recipe.model_args) <= set(accepted):
                return [(f"zoo train {recipe} --model {card.name}", f"the recipe is that of {other.name}")]
    return []


def _recipes(card: Card) -> Iterable[list[str]]:
    if card.recipes:
        yield ["## Recipes"]
    for name in card.recipes:
        header = inspect.cleandoc(load_script(name).__doc__)
        yield [f"### {name}", "", header, "", f"[All settings](../../recipes/{name}.py)."]


def _layers(name: str) -> list[str]:
    rows = layer_table(build(name))
    heading, *lines = (f"| {' | '.join(cells)} |" for cells in table_cells(rows))
    table = [heading, "|---|---|---|---|---:|---:|", *lines]
    text = [*TABLE_NOTES, ""]
    if len(rows) <= LONG_TABLE:
        return text + table
    return [*text, "<details>", f"<summary>{len(rows)} layers</summary>", "", *table, "", "</details>"]
