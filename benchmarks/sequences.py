"""Training the tagger and the translator: the engine beside a plain PyTorch loop at the same sizes.

    python benchmarks/sequences.py [EXPORT]

Both train on made-up text, written to files that the engine reads: sentences of 16 words of 8 letters in batches of 32
for the tagger of `bilstm_tagger_en_ewt`, pairs of 14 words in batches of 64 for the translator of
`seq2seq_multi30k_en_de`. The engine's part is `zoo.run`, reading and dropout and all; PyTorch's is a loop over random
numbers of the same shapes, with its fused LSTM and GRU, and the decoder's steps in Python. Both average the weights.
Given a translator's EXPORT, the seconds that its greedy signature takes for the 1,000 test sentences of Multi30k come
last, and the memory. Both run in float32, then in bfloat16.
"""

import importlib.util
import itertools
import random
import string
import sys
import tempfile
import time
from pathlib import Path

from contest import PRECISIONS, Clock, contest, given, in_a_process, mixed

ROUNDS, EPOCHS, STEPS = 2, 3, 40  # the first epoch does not count
WORDS = 6000  # of the vocabulary
TAGGED = (32, 16, 8)  # sentences, words, letters
PAIRED = (64, 14)  # pairs, words


def _words() -> list[str]:
    draw = random.Random(0)
    return ["".join(draw.choices(string.ascii_lowercase, k=TAGGED[2])) for _ in range(WORDS)]


def engine_tagger(folder: str, precision: str) -> list[float]:
    """Words per second of `zoo.run`."""
    draw, words = random.Random(1), _words()
    path = Path(folder, "made-up.conllu")
    sentences, length, _ = TAGGED
    rows = []
    for i in range(sentences * (STEPS + 10)):
        chosen = words[i * length % WORDS :][:length]
        chosen += draw.choices(words, k=length - len(chosen))
        rows += [f"{n}\t{word}\t_\tTAG{ord(word[0]) % 17}" + "\t_" * 6 for n, word in enumerate(chosen, 1)] + [""]
    path.write_text("\n".join(rows), encoding="utf-8")
    return _engine("bilstm_tagger_en_ewt", folder, precision, sentences * length, dataset=f"conllu:{path}")


def engine_translator(folder: str, precision: str) -> list[float]:
    """Target words per second of `zoo.run`."""
    draw, words = random.Random(1), _words()
    path = Path(folder, "made-up.tsv")
    pairs, length = PAIRED
    sides = [[" ".join(draw.choices(words, k=length - 1)) for _ in range(pairs * (STEPS + 10))] for _ in range(2)]
    path.write_text("".join(f"{one}\t{other}\n" for one, other in zip(*sides, strict=True)), encoding="utf-8")
    return _engine("seq2seq_multi30k_en_de", folder, precision, pairs * length, dataset=f"tsv:{path}")


def _engine(name: str, folder: str, precision: str, tokens: int, dataset: str) -> list[float]:
    from dataclasses import replace

    import zoo
    from zoo.recipe import load_recipe

    recipe = replace(load_recipe(name), epochs=EPOCHS, steps_per_epoch=STEPS, precision=precision)
    recipe = replace(recipe, dataset=dataset, min_count=1)
    clock = Clock()
    zoo.run(recipe, run_dir=f"{folder}/run", callbacks=[clock.watch()])
    return [STEPS * tokens / seconds for seconds in clock.seconds[1:]]


def _pytorch(net, batch, precision: str, tokens: int, rate: float, clip: float) -> list[float]:
    import torch
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    optimizer = torch.optim.Adam(net.parameters(), rate)
    averaged = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.998))
    clock = Clock()
    for _ in range(EPOCHS):
        clock.start()
        for _ in range(STEPS):
            optimizer.zero_grad()
            with mixed(precision):
                loss = net.loss(*batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), clip)
            optimizer.step()
            averaged.update_parameters(net)
        clock.stop()
    return [STEPS * tokens / seconds for seconds in clock.seconds[1:]]


def pytorch_tagger(folder: str, precision: str) -> list[float]:
    """Words per second of a plain PyTorch loop."""
    import torch
    from torch import nn

    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.letters, self.words = nn.Embedding(128, 50), nn.Embedding(WORDS + 2, 100)
            self.spelling = nn.LSTM(50, 100, bidirectional=True, batch_first=True)
            self.context = nn.LSTM(300, 150, 2, bidirectional=True, batch_first=True, dropout=0.4)
            self.drop, self.tags = nn.Dropout(0.4), nn.Linear(300, 17)

        def loss(self, words, letters, tags):
            count, length, width = letters.shape
            _, (last, _) = self.spelling(self.letters(letters.reshape(-1, width)))
            spelled = last.transpose(0, 1).reshape(count, length, -1)
            x = torch.cat([self.words(words), spelled], -1)
            x, _ = self.context(self.drop(x + 0.2 * torch.randn_like(x)))
            return nn.functional.cross_entropy(self.tags(self.drop(x)).flatten(0, 1), tags.flatten())

    sentences, length, width = TAGGED
    words = torch.randint(2, WORDS, (sentences, length))
    letters = torch.randint(1, 128, (sentences, length, width))
    batch = (words, letters, torch.randint(0, 17, (sentences, length)))
    return _pytorch(Tagger(), batch, precision, sentences * length, 0.002, 5.0)


def pytorch_translator(folder: str, precision: str) -> list[float]:
    """Target words per second of a plain PyTorch loop."""
    import torch
    from torch import nn

    class Translator(nn.Module):
        def __init__(self, embedding=256, units=512, maxout=256, alignment=256):
            super().__init__()
            self.source, self.target = nn.Embedding(WORDS + 3, embedding), nn.Embedding(WORDS + 3, embedding)
            self.encoder = nn.GRU(embedding, units, bidirectional=True, batch_first=True)
            self.first = nn.Linear(units, units)
            self.cell = nn.GRUCell(embedding + 2 * units, units)
            self.query, self.key = (nn.Linear(n, alignment, bias=False) for n in (units, 2 * units))
            self.score = nn.Linear(alignment, 1, bias=False)
            self.deep = nn.Linear(units + embedding + 2 * units, 2 * maxout)
            self.words, self.drop = nn.Linear(maxout, WORDS + 3), nn.Dropout(0.4)

        def loss(self, source, before, labels):
            notes, _ = self.encoder(self.drop(self.source(source)))
            state = torch.tanh(self.first(notes[:, 0, notes.shape[-1] // 2 :]))
            keys, words, outputs = self.key(notes), self.drop(self.target(before)), []
            for position in range(words.shape[1]):
                scores = self.score(torch.tanh(self.query(state)[:, None] + keys))
                context = (torch.softmax(scores, 1).transpose(1, 2) @ notes)[:, 0]
                outputs.append(torch.cat([state, words[:, position], context], -1))
                state = self.cell(torch.cat([words[:, position], context], -1), state)
            x = self.deep(torch.stack(outputs, 1))
            x = self.drop(x.unflatten(-1, (-1, 2)).amax(-1))
            return nn.functional.cross_entropy(self.words(x).flatten(0, 1), labels.flatten(), label_smoothing=0.1)

    pairs, length = PAIRED
    batch = [torch.randint(3, WORDS, (pairs, length)) for _ in range(3)]
    return _pytorch(Translator(), batch, precision, pairs * length, 0.001, 1.0)


def greedy(export: str) -> float:
    """Seconds for the test sentences of Multi30k through a translator's greedy signature."""
    import tensorflow as tf

    from zoo.data.pairs import load_pairs
    from zoo.exports import read
    from zoo.tasks.translation.scoring import translate

    texts = load_pairs("multi30k/en-de").test.sources
    signature = tf.saved_model.load(str(read.find(export))).signatures["serving_default"]
    signature(text=tf.constant(texts[:2]))
    start = time.perf_counter()
    translate(lambda batch: signature(text=batch), texts, "")
    return time.perf_counter() - start


def main() -> None:
    """Runs every contender in turn, and prints tokens per second and ratios."""
    exports = given(__doc__, "EXPORT")
    contenders = {"zoo.run": "engine"}
    if importlib.util.find_spec("torch"):
        contenders["PyTorch"] = "pytorch"
    for kind, precision in itertools.product(("tagger", "translator"), PRECISIONS):
        best: dict[str, float] = {}
        memory = 0.0
        for _ in range(ROUNDS):
            for label, prefix in contenders.items():
                print(f"  {kind}, {precision}: {label} …", file=sys.stderr, flush=True)
                with tempfile.TemporaryDirectory() as folder:
                    rates, peak = in_a_process(__file__, [f"{prefix}_{kind}", folder, precision])
                # The fastest epoch: whatever else the machine does can only slow one down.
                best[label] = max(best.get(label, 0.0), *rates)
                memory = max(memory, peak if prefix == "engine" else 0)
        print(f"\n{kind}, {precision} (zoo.run takes {memory:.2f} GB of memory at most)")
        for label, value in best.items():
            print(f"  training   {label:<10} {value:9,.0f} words/s   zoo {best['zoo.run'] / value:5.2f} ×")
    for export in exports:
        seconds, peak = in_a_process(__file__, ["greedy", export])
        print(f"\ngreedy translation of 1,000 sentences: {seconds:.1f} s, {peak:.2f} GB")


if __name__ == "__main__":
    contest(globals(), main)
