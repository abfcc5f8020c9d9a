"""Translation: a text in, another out, and how much each word of it looked at each word of the first."""

import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from zoo import report
from zoo.data.pairs import Pairs, load_pairs
from zoo.data.splits import describe_counts
from zoo.data.stream import EpochShuffle, bucketed, take_rows
from zoo.data.text_files import split_lines
from zoo.data.tokens import Tokenizer
from zoo.data.vocabulary import Words
from zoo.errors import ZooError, reason
from zoo.recipe import TranslationRecipe, from_dict
from zoo.registry import Card
from zoo.tasks.inputs import texts_of
from zoo.tasks.losses import smoothed_cross_entropy

PADDING, UNKNOWN, END = 0, 1, 2
SCORED = 100  # texts that are scored at a time
LONGEST = 500  # tokens of a translation, whatever the text
# Groups of test sentences by the words and signs of their source, for BLEU by length (Bahdanau et al., figure 2).
LENGTHS = {"to_10_words": (1, 10), "11_to_15_words": (11, 15), "16_to_20_words": (16, 20), "over_20_words": (21, 10**9)}


class Translation:
    """Trains, scores and serves a net from sequences to sequences as a `TranslationRecipe` says."""

    def __init__(self, recipe: TranslationRecipe, card: Card, say: Callable[[str], None]):
        self.recipe = recipe
        self.data = load_pairs(recipe.dataset, log=say)
        say(self.data.description)
        train = self.data.train
        self.tokenizer = Tokenizer(recipe.unit, recipe.lower_case)
        tokens = [self.tokenizer.split(tf.constant(side)) for side in (train.sources, train.targets)]
        self.source_words, self.target_words = (
            Words(Counter(word.decode() for word in side.flat_values.numpy()), recipe.least_count, marks=["end"])
            for side in tokens
        )
        self.train = self._encoded(train)
        lengths = np.maximum(*(side.row_lengths().numpy() for side in self.train)) - 1
        self.fitting = np.flatnonzero(lengths <= recipe.longest)
        if not len(self.fitting):
            raise ZooError(f"{recipe.dataset}: no pair is as short as {recipe.longest} tokens; raise --longest.")

    @property
    def train_examples(self) -> int:
        return len(self.fitting)

    def summary(self) -> str:
        """One line on the data."""
        data, unit = self.data, self.recipe.unit
        sizes = {split: len(part) for split, part in data.present.items()} | {"train": len(self.fitting)}
        return (
            f"{data.name}: {describe_counts(sizes, 'pairs')}, "
            f"{len(self.source_words):,} and {len(self.target_words):,} {unit}"
        )

    def model_args(self) -> dict[str, Any]:
        """What the data decides about the model."""
        return {"source_vocabulary": len(self.source_words), "target_vocabulary": len(self.target_words)}

    def score(self, logs: Mapping[str, float]) -> float:
        """Greater is better."""
        return logs["val_accuracy"]

    def loss(self, labels, outputs):
        """The cross-entropy of each token, (N, T), with smoothed labels where the recipe says so."""
        return smoothed_cross_entropy(labels, outputs["logits"], self.recipe.label_smoothing)

    def metrics(self) -> list[keras.metrics.Metric]:
        return [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]

    def callbacks(self) -> list[keras.callbacks.Callback]:
        return []

    def training_batches(self, first_step: int, own: range | None = None) -> tf.data.Dataset:
        order = EpochShuffle(len(self.fitting), self.recipe.batch_size, self.recipe.seed)
        sources, targets = (side.row_lengths().numpy()[self.fitting] for side in self.train)
        by_length = targets * (sources.max() + 1) + sources  # targets alike in length, and among them sources
        batch, fitting = batches_of(*self.train), tf.constant(self.fitting)
        steps = bucketed(order, by_length, first_step)
        batches = steps.map(
            lambda places: batch(tf.gather(fitting, places)), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
        return take_rows(batches, own).prefetch(4)

    def validation_batches(self) -> tf.data.Dataset:
        sides = self._encoded(self.data.validation)
        places = np.argsort(sides[1].row_lengths().numpy(), kind="stable")
        batch, order = batches_of(*sides), tf.constant(places)
        starts = tf.data.Dataset.range(0, len(places), SCORED)
        return starts.map(lambda start: batch(order[start : start + SCORED]), num_parallel_calls=2).prefetch(2)

    def _encoded(self, part: Pairs) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        """Numbers of the tokens on both sides, int32 (N, any), each text closed by `END`."""
        return tuple(
            ended(words.encode(self.tokenizer.split(tf.constant(texts))))
            for words, texts in ((self.source_words, part.sources), (self.target_words, part.targets))
        )

    def evaluate(self, model: keras.Model, folder: Path) -> dict[str, float]:
        """BLEU of the test split's words, or the share of texts that are right; greedy and with the beam.

        Translations go to the run's folder, and a picture of where the first of them looked.
        """
        endpoints, test = self.serving(model).endpoints, self.data.test
        results = {}
        for kind, endpoint in (("", endpoints["serving_default"]), ("beam_", endpoints["beam"])):
            ours = translated(lambda texts, e=endpoint: e(texts), test.sources, f"scoring {kind.strip('_')}")
            scores, way = scored(self.recipe, ours, test)
            if not kind and self.recipe.unit == "words":
                scores |= bleu_by_length(self.recipe, ours, test, self.tokenizer)
            results |= {f"test_{kind}{key}": value for key, value in scores.items()}
            rows = zip(test.sources, test.targets, ours, strict=True)
            text = "".join(f"{source}\n= {target}\n> {translation}\n\n" for source, target, translation in rows)
            (folder / f"{kind}translations.txt").write_text(f"{way}\n\n{text}", encoding="utf-8")
        answer = endpoints["serving_default"](tf.constant(test.sources[:3]))
        report.attention_maps(list(attention_of(answer)), folder / "attention.png")
        return results

    def serving(self, model: keras.Model) -> tf.Module:
        """The export's signatures, as `ServingTranslator` describes them."""
        return ServingTranslator(model, self.tokenizer, self.source_words, self.target_words, self.recipe)

    def serving_examples(self) -> dict[str, np.ndarray]:
        """A few real requests to the default signature."""
        return {"text": np.array([text.encode() for text in self.data.validation.sources[:4]])}


def ended(numbers: tf.RaggedTensor) -> tf.RaggedTensor:
    """The rows with an `END` behind each."""
    return tf.concat([numbers, tf.fill([numbers.nrows(), 1], END)], axis=1)


def batches_of(
    sources: tf.RaggedTensor, targets: tf.RaggedTensor
) -> Callable[[tf.Tensor], tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]]:
    """A function from places of pairs to what a step takes of them: inputs, labels and what is no padding.

    The word before the first is `END`.
    """

    def batch(places: tf.Tensor):
        labels = tf.gather(targets, places).to_tensor(PADDING)
        before = tf.pad(labels[:, :-1], [[0, 0], [1, 0]], constant_values=END)
        inputs = {"source": tf.gather(sources, places).to_tensor(PADDING), "target": before}
        return inputs, labels, tf.cast(labels != PADDING, tf.float32)

    return batch


def translated(signature: Callable, texts: Sequence[str], label: str) -> list[str]:
    """The translations of texts by a signature, the short ones first."""
    order = np.argsort([len(text) for text in texts], kind="stable")
    translations = [""] * len(texts)
    starts = range(0, len(texts), SCORED)
    for start in report.progress(starts, label, len(starts)):
        places = order[start : start + SCORED]
        answer = signature(tf.constant([texts[place] for place in places]))["translation"].numpy()
        for place, text in zip(places, answer, strict=True):
            translations[place] = text.decode()
    return translations


def scored(recipe: TranslationRecipe, translations: Sequence[str], part: Pairs) -> tuple[dict[str, float], str]:
    """The score of translations, `bleu` or `exact_match`, and how it was taken.

    BLEU is sacreBLEU's, with its own tokens (13a), on the raw references; where the recipe has small letters only, case
    does not count.
    """
    if recipe.unit == "characters":
        right = [ours == target for ours, target in zip(translations, part.targets, strict=True)]
        return {"exact_match": float(np.mean(right))}, "exact match of whole texts"
    metric = _bleu(recipe)
    score = metric.corpus_score(translations, [part.targets]).score
    return {"bleu": score}, f"sacreBLEU {metric.get_signature()}"


def bleu_by_length(
    recipe: TranslationRecipe, translations: Sequence[str], part: Pairs, tokenizer: Tokenizer
) -> dict[str, float]:
    """BLEU of the texts of each of `LENGTHS` that there are."""
    lengths = tokenizer.split(tf.constant(part.sources)).row_lengths().numpy()
    scores = {}
    for name, (least, most) in LENGTHS.items():
        places = np.flatnonzero((lengths >= least) & (lengths <= most))
        if len(places):
            ours, theirs = ([side[place] for place in places] for side in (translations, part.targets))
            scores[f"bleu_{name}"] = _bleu(recipe).corpus_score(ours, [theirs]).score
    return scores


def _bleu(recipe: TranslationRecipe):
    from sacrebleu.metrics import BLEU

    return BLEU(tokenize="13a", lowercase=recipe.lower_case)


class ServingTranslator(tf.Module):
    """A translator with its vocabularies and its loops, to be saved with these signatures:

    * `serving_default`: `text` string (N,) → `translation` string (N,), `score` float32 (N,), its log-probability over
      its length to the recipe's power, and `attention` float32 (N, T_out, T_in) between its `tokens` string (N, T_out)
      and those of the text, `source_tokens` string (N, T_in); both end with "<end>", shorter rows in "" and 0. Always
      the likeliest token follows;
    * `beam`: the same, but of several translations that are followed side by side the one with the best score.

    A token outside the vocabulary is written as the token of the text that it looked at most; a net without attention
    writes none. A row's answer depends on nothing but the row. Texts without tokens have an empty translation and the
    score 0; a translation ends after twice as many tokens as the text has and ten, and after `LONGEST` at the latest.
    """

    def __init__(
        self,
        model: keras.Model,
        tokenizer: Tokenizer,
        source_words: Words,
        target_words: Words,
        recipe: TranslationRecipe,
    ):
        super().__init__()
        self.weights = [weight.value for weight in model.weights]  # what the export keeps, in the model's order
        self.source_words, self.target_words = source_words, target_words
        search = Search(model, recipe.length_normalisation)
        looks = keras.Model(model.input, model.output["attention"])

        def translate(text: tf.Tensor, width: int) -> dict[str, tf.Tensor]:
            tokens = tokenizer.split(text)
            lengths = tf.cast(tokens.row_lengths(), tf.int32)
            width_in = tf.reduce_max(tf.concat([lengths, [0]], 0)) + 1  # of no text at all, too
            source = ended(source_words.encode(tokens)).to_tensor(PADDING, shape=tf.stack([-1, width_in]))
            limits = tf.where(lengths > 0, tf.minimum(2 * lengths + 10, LONGEST), 0)
            written, score = search(source, limits, width)
            before = tf.pad(written[:, :-1], [[0, 0], [1, 0]], constant_values=END)
            attention = tf.cast(looks({"source": source, "target": before}, training=False), tf.float32)
            attention = tf.where((written != PADDING)[..., None], attention, 0.0)
            names = tf.concat([tokens, tf.fill([tokens.nrows(), 1], "<end>")], axis=1)
            names = names.to_tensor("", shape=tf.stack([-1, width_in]))
            real = (source != END) & (source != PADDING)
            copied = tf.gather(names, tf.argmax(tf.where(real[:, None], attention, -1.0), axis=-1), batch_dims=1)
            words = tf.where(written == UNKNOWN, copied, target_words.decode(written))
            words = tf.where(written == PADDING, "", tf.where(written == END, "<end>", words))
            spoken = (written != PADDING) & (written != END)
            translation = tokenizer.join(tf.ragged.boolean_mask(words, spoken))
            return {
                "translation": translation,
                "attention": attention,
                "score": score,
                "tokens": words,
                "source_tokens": names,
            }

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "text")])
        def serving_default(text):
            return translate(text, 1)

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "text")])
        def beam(text):
            return translate(text, recipe.beam_width)

        self.endpoints = {"serving_default": serving_default, "beam": beam}


class Search:
    """Beam search with a net's decoder, one token at a time, in the graph. A width of one is greedy."""

    def __init__(self, model: keras.Model, length_normalisation: float):
        self.decoder = model.get_layer("decoder")
        _, annotations, real, state = self.decoder.input
        self.encoder = keras.Model(model.input["source"], [annotations, real, state])
        self.embedded = model.get_layer("target_embedding")
        self.head = keras.Model(self.decoder.output[0], model.output["logits"])
        self.power = length_normalisation
        size = model.output["logits"].shape[-1]
        never = [PADDING] if self.decoder.attends else [PADDING, UNKNOWN]
        self.never = tf.constant([-np.inf if number in never else 0.0 for number in range(size)])
        self.only_end = tf.constant([0.0 if number == END else -np.inf for number in range(size)])

    def __call__(self, source: tf.Tensor, limits: tf.Tensor, width: int) -> tuple[tf.Tensor, tf.Tensor]:
        """The best translation of each text found, int32 (N, T) with `END` behind each and `PADDING` after, and scores.

        `source` is int32 (N, S), `limits` int32 (N,) the most tokens of each. A text's search is over when `width`
        translations have ended among the best `width` of a step.
        """
        annotations, real, state = self.encoder(source, training=False)
        fixed = [tf.repeat(part, width, axis=0) for part in (self.decoder.keys(annotations, real), annotations, real)]
        rows, total = tf.shape(source)[0], tf.reduce_max(tf.concat([limits, [1]], 0))
        places = tf.range(total)

        def chosen(values, which):
            return tf.gather(values, which, batch_dims=1)

        def step(position, last, state, scores, texts, best_texts, best_scores, ended_count):
            output, _, state = self.decoder.step(self.embedded(tf.reshape(last, [-1])), state, *fixed)
            logits = tf.cast(self.head(output[:, None], training=False)[:, 0], tf.float32)
            chances = tf.nn.log_softmax(logits) + self.never
            size = chances.shape[-1]
            everything = scores[..., None] + tf.reshape(chances, [rows, width, size])  # (N, width, V)
            at_limit = (position + 1 >= limits)[:, None, None]
            everything = tf.where(at_limit, everything + self.only_end, everything)
            found, where = tf.math.top_k(tf.reshape(everything, [rows, width * size]), 2 * width)
            parents, tokens = where // size, where % size
            extended = tf.where(places == position, tokens[..., None], chosen(texts, parents))  # (N, 2·width, total)
            # Those that end here among the first, and are to be compared with those that ended before.
            over = (tokens == END) & tf.math.is_finite(found)
            over &= (tf.range(2 * width) < width) & (ended_count < width)[:, None]
            length = tf.cast(position + 1, tf.float32) ** self.power
            all_scores = tf.concat([best_scores, tf.where(over, found / length, -np.inf)], axis=1)
            best_scores, which = tf.math.top_k(all_scores, 1)
            best_texts = chosen(tf.concat([best_texts, extended], axis=1), which)
            ended_count += tf.reduce_sum(tf.cast(over, tf.int32), axis=1)
            # Each of the others goes on.
            scores, which = tf.math.top_k(tf.where(tokens == END, -np.inf, found), width)
            parents = chosen(parents, which) + tf.range(rows)[:, None] * width
            state = tf.gather(state, tf.reshape(parents, [-1]))
            return (
                position + 1,
                chosen(tokens, which),
                state,
                scores,
                chosen(extended, which),
                best_texts,
                best_scores,
                ended_count,
            )

        begin = (
            0,
            tf.fill([rows, width], END),
            tf.repeat(state, width, axis=0),
            tf.tile(tf.constant([[0.0] + [-np.inf] * (width - 1)]), [rows, 1]),
            tf.zeros([rows, width, total], tf.int32),
            tf.zeros([rows, 1, total], tf.int32),
            tf.fill([rows, 1], -np.inf),
            tf.where(limits > 0, 0, width),
        )
        *_, texts, scores, _ = tf.while_loop(
            lambda position, *rest: (position < total) & tf.reduce_any(rest[-1] < width), step, begin
        )
        texts = texts[:, 0]
        longest = tf.reduce_max(tf.concat([tf.reduce_sum(tf.cast(texts != PADDING, tf.int32), axis=1), [1]], 0))
        return texts[:, :longest], tf.where(limits > 0, scores[:, 0], 0.0)


def attention_of(answer: Mapping[str, tf.Tensor]) -> Iterator[tuple[list[str], list[str], np.ndarray]]:
    """The tokens of each text, those of its translation, and the attention between them, without padding."""
    for source, target, attention in zip(
        answer["source_tokens"].numpy(), answer["tokens"].numpy(), answer["attention"].numpy(), strict=True
    ):
        source, target = ([token.decode() for token in side if token] for side in (source, target))
        yield source, target, attention[: len(target), : len(source)]


def predict(export: Path, options: Namespace) -> Iterator[dict[str, Any]]:
    """An export's translations of texts: those given, or the lines of files (`-` for standard input).

    Yields for each line its `text`, `translation` and `score`, or the `file` and the `error` that kept it from being
    read. With `options.plot` the attention is drawn into that file at the end.
    """
    signatures = tf.saved_model.load(str(export)).signatures
    signature, maps = signatures["beam" if options.beam else "serving_default"], []
    for name, content in texts_of(options):
        if isinstance(content, ZooError):
            yield {"file": name, "error": str(content)}
            continue
        for line in split_lines(content) or [""]:
            answer = signature(text=tf.constant([line]))
            maps += [part for part in attention_of(answer) if part[1]]
            yield {
                "text": line,
                "translation": answer["translation"].numpy()[0].decode(),
                "score": float(answer["score"][0]),
            }
    if options.plot and maps:
        try:
            report.attention_maps(maps, Path(options.plot))
        except (OSError, ValueError) as error:
            raise ZooError(f"The picture cannot be written to {options.plot}: {reason(error)}.") from error


def shown(answer: Mapping[str, Any]) -> str:
    """An answer for people."""
    return answer["translation"]


def evaluate(export: Path, plain: Mapping[str, Any], card: Mapping[str, Any], dataset: str | None) -> dict[str, Any]:
    """Scores an export through its signatures on the test split of a data set."""
    recipe = from_dict(plain)
    data = load_pairs(dataset or recipe.dataset, log=lambda text: print(text, file=sys.stderr))
    signatures = tf.saved_model.load(str(export)).signatures
    results: dict[str, Any] = {"dataset": data.name}
    for kind, name in (("", "serving_default"), ("beam_", "beam")):
        endpoint = signatures[name]
        ours = translated(lambda texts, e=endpoint: e(text=texts), data.test.sources, f"scoring {kind.strip('_')}")
        scores, results["scored_by"] = scored(recipe, ours, data.test)
        results |= {f"test_{kind}{key}": value for key, value in scores.items()}
    return results
