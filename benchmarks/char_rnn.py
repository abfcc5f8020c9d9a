"""Sampling from the exported char-RNN and training it, beside PyTorch and a Python loop over Keras's `predict`.

    python benchmarks/char_rnn.py

The net is char-rnn's default, two LSTM layers of 128 units over 65 characters. Sampling: 1,000 characters from one
prompt through the export's signature, strings in and strings out; PyTorch steps the same net in a Python loop under
`torch.inference_mode`. Training: tiny Shakespeare in 50 streams of 50 characters a step, the engine's whole run against
a plain loop over `torch.nn.LSTM`; and beside it three layers of 512 units in steps of 100 characters, without dropout.
PyTorch takes part where it is installed. All run in float32, then in bfloat16.
"""

import importlib.util
import sys
import tempfile

from contest import PRECISIONS, Clock, contest, given, in_a_process, mixed, set_policy, timed

ROUNDS, EPOCHS = 2, 4  # the first epoch does not count
VOCABULARY, STREAMS = 65, 50
LARGE, SMALL = (3, 512, 100, 10), (2, 128, 50, 100)  # layers, units, characters a step, steps an epoch
SAMPLED, BATCHES = 1000, (1, 64)


def training(layers: int, units: int) -> str:
    return f"training, {layers} × {units}"


def engine(precision: str) -> dict[str, list[float]]:
    """Characters per second of `zoo.run`, and of sampling from its export in a process of its own, as a server's."""
    from dataclasses import replace

    import zoo
    from zoo.recipe import load_recipe

    recipe = replace(load_recipe("char_rnn_tiny_shakespeare_fast"), epochs=EPOCHS, precision=precision)
    rates = {}
    with tempfile.TemporaryDirectory() as scratch:
        for layers, units, length, steps in (LARGE, SMALL):
            model = "char_rnn_512" if layers == 3 else "char_rnn"
            sizes = {"units": units, "layers": layers}
            sized = replace(recipe, model=model, model_args=sizes, sequence_length=length, steps_per_epoch=steps)
            clock = Clock()
            result = zoo.run(sized, run_dir=f"{scratch}/{units}", callbacks=[clock.watch()])
            rates[training(layers, units)] = [steps * STREAMS * length / seconds for seconds in clock.seconds[1:]]
        return rates | in_a_process(__file__, ["server", str(result.export)])[0]


def server(export: str) -> dict[str, list[float]]:
    """Characters per second of the export's signature."""
    import numpy as np
    import tensorflow as tf

    sample = tf.saved_model.load(export).signatures["serving_default"]
    rates = {}
    for rows in BATCHES:
        request = {
            "prompt": tf.constant([b"T"] * rows),
            "length": tf.constant(np.full(rows, SAMPLED, np.int32)),
            "temperature": tf.constant(np.full(rows, 0.8, np.float32)),
            "seed": tf.constant(np.arange(rows, dtype=np.int32)),
        }
        rates[f"sampling, batch {rows}"] = timed(lambda request=request: sample(**request), rows * SAMPLED)
    return rates


def predict_loop(precision: str) -> dict[str, list[float]]:
    """Characters per second where Python calls `model.predict` for each."""
    import numpy as np

    import zoo
    from zoo.tasks.decoding import zero_state

    set_policy(precision)
    model = zoo.build("char_rnn")
    rng = np.random.default_rng(0)

    def sample(count: int) -> None:
        token, state = np.zeros((1, 1), np.int32), {k: v.numpy() for k, v in zero_state(model, 1).items()}
        for _ in range(count):
            outputs = model.predict({"tokens": token, **state}, verbose=0)
            chances = np.exp(outputs.pop("logits")[0, 0].astype(np.float64) / 0.8)
            token[0, 0], state = rng.choice(VOCABULARY, p=chances / chances.sum()), outputs

    return {"sampling, batch 1": timed(lambda: sample(10), 10)}


def pytorch(precision: str) -> dict[str, list[float]]:
    """Characters per second of a plain PyTorch loop."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self, layers, units):
            super().__init__()
            self.rnn = nn.LSTM(VOCABULARY, units, layers, batch_first=True)
            self.decoder = nn.Linear(units, VOCABULARY)

        def forward(self, tokens, state):
            x, state = self.rnn(nn.functional.one_hot(tokens, VOCABULARY).float(), state)
            return self.decoder(x), state

    rates = {}
    for layers, units, length, steps in (LARGE, SMALL):
        net = Net(layers, units)
        optimizer = torch.optim.Adam(net.parameters(), 0.003)
        text = torch.randint(0, VOCABULARY, (STREAMS, steps * length + 1))
        clock, state = Clock(), None
        for _ in range(EPOCHS):
            clock.start()
            for start in range(0, steps * length, length):
                optimizer.zero_grad()
                with mixed(precision):
                    logits, state = net(text[:, start : start + length], state)
                state = tuple(part.detach() for part in state)
                targets = text[:, start + 1 : start + length + 1]
                nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten()).backward()
                nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                optimizer.step()
            clock.stop()
        rates[training(layers, units)] = [steps * STREAMS * length / seconds for seconds in clock.seconds[1:]]

    def sample(rows: int, count: int) -> None:
        token, state = torch.zeros((rows, 1), dtype=torch.long), None
        for _ in range(count):
            logits, state = net(token, state)
            token = torch.multinomial(torch.softmax(logits[:, 0].float() / 0.8, -1), 1)

    net.eval()
    with torch.inference_mode(), mixed(precision):
        for rows in BATCHES:
            rates[f"sampling, batch {rows}"] = timed(lambda rows=rows: sample(rows, SAMPLED), rows * SAMPLED)
    return rates


def main() -> None:
    """Runs every contender in turn, and prints characters per second and ratios."""
    given(__doc__)
    contenders = {"zoo.run, and its export": "engine", "model.predict in a loop": "predict_loop"}
    if importlib.util.find_spec("torch"):
        contenders["PyTorch"] = "pytorch"
    for precision in PRECISIONS:
        speed: dict[str, dict[str, list[float]]] = {}
        memory = 0.0
        for _ in range(ROUNDS):
            for label, function in contenders.items():
                print(f"  {precision}: {label} …", file=sys.stderr, flush=True)
                rates, peak = in_a_process(__file__, [function, precision])
                for kind, values in rates.items():
                    speed.setdefault(kind, {}).setdefault(label, []).extend(values)
                memory = max(memory, peak if function == "engine" else 0)
        print(f"\nchar_rnn, {precision} (zoo.run takes {memory:.2f} GB of memory at most)")
        for kind, rates in speed.items():
            # The fastest epoch: whatever else the machine does can only slow one down.
            best = {label: max(values) for label, values in rates.items()}
            ours = best["zoo.run, and its export"]
            for label, value in best.items():
                print(f"  {kind:<20} {label:<26} {value:11,.0f} characters/s   zoo {ours / value:7.2f} ×")


if __name__ == "__main__":
    contest(globals(), main)
