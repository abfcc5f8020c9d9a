"""Training speed on MNIST: the engine, end to end, beside plain Keras on cached arrays and a PyTorch loop.

    python benchmarks/mnist_training.py

Each contender trains the same net with the same optimizer and batch in a process of its own, and the fastest of the
epochs after the first counts. Plain Keras is `model.fit` on float32 arrays in memory, with each pair of `jit_compile`
and `steps_per_execution` in PLAIN; the fastest stands in the ratio. The engine decodes, shuffles, standardises, writes
checkpoints, metrics and logs. PyTorch takes part where it is installed.
"""

import importlib.util
import sys
import tempfile

from contest import Clock, contest, given, in_a_process

RECIPES = ("lenet5_mnist", "mlp_mnist")
ROUNDS, EPOCHS = 2, 3
PLAIN = [(False, 1), (False, 10), (False, 50), (True, 50)]  # jit_compile, steps_per_execution


def engine(name: str) -> list[float]:
    """Seconds of each epoch through `zoo.run`."""
    from dataclasses import replace

    import zoo
    from zoo.recipe import load_recipe

    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        zoo.run(replace(load_recipe(name), epochs=EPOCHS), run_dir=f"{folder}/run", callbacks=[clock.watch()])
    return clock.seconds


def plain(name: str, jit: bool, steps: int) -> list[float]:
    """Seconds of each epoch of Keras's own `fit` on arrays."""
    import keras

    import zoo
    from zoo.recipe import load_recipe
    from zoo.tasks.image_classification import losses as classification

    recipe = load_recipe(name)
    images, labels = arrays(recipe)
    model = zoo.build(recipe.model, **recipe.model_args)
    model.compile(
        optimizer=keras.optimizers.Adam(recipe.learning_rate),
        loss=classification.LOSSES[recipe.loss],
        metrics=["accuracy"],
        jit_compile=jit,
        steps_per_execution=steps,
    )
    clock = Clock()
    model.fit(images, labels, batch_size=recipe.batch_size, epochs=EPOCHS, verbose=2, callbacks=[clock.watch()])
    return clock.seconds


def prepare(name: str, path: str) -> None:
    """Writes images, labels and LeNet-5's constants to `path`: PyTorch's CUDA build crashes beside TensorFlow."""
    import numpy as np

    from zoo.models.lenet import C3_CONNECTIONS, RBF_CODES
    from zoo.recipe import load_recipe
    from zoo.tasks.image_classification.losses import RUBBISH_DISTANCE

    images, labels = arrays(load_recipe(name))
    planes = [m * 6 + i for m, inputs in enumerate(C3_CONNECTIONS) for i in inputs]  # of C3's kernel, 16 × 6 in all
    np.savez(path, images=images, labels=labels, planes=planes, codes=RBF_CODES, rubbish=RUBBISH_DISTANCE)


def pytorch(name: str, path: str) -> list[float]:
    """Seconds of each epoch of a plain PyTorch loop over the same net, with what `prepare` wrote to `path`."""
    import numpy as np
    import torch
    from torch import nn

    from zoo.recipe import load_recipe

    with np.load(path) as file:
        data = {key: torch.from_numpy(array) for key, array in file.items()}

    class Squash(nn.Module):
        def forward(self, x):
            return 1.7159 * torch.tanh(x * (2 / 3))

    class Subsample(nn.Module):
        def __init__(self, maps):
            super().__init__()
            self.coefficient = nn.Parameter(torch.empty(maps, 1, 1).uniform_(-0.6, 0.6))
            self.bias = nn.Parameter(torch.empty(maps, 1, 1).uniform_(-0.6, 0.6))

        def forward(self, x):
            return 4 * nn.functional.avg_pool2d(x, 2) * self.coefficient + self.bias

    class Partial(nn.Module):
        def __init__(self):
            super().__init__()
            self.kernel = nn.Parameter(torch.empty(60, 25).uniform_(-0.03, 0.03))
            self.bias = nn.Parameter(torch.zeros(16))

        def forward(self, x):
            dense = torch.zeros(96, 25).index_copy(0, data["planes"], self.kernel).reshape(16, 6, 5, 5)
            return nn.functional.conv2d(x, dense, self.bias)

    class Codes(nn.Module):
        def forward(self, x):
            return -((x[:, None] - data["codes"].float()) ** 2).sum(-1)

    def lenet5():
        convolutions = [nn.Conv2d(1, 6, 5), Subsample(6), Partial(), Subsample(16), nn.Conv2d(16, 120, 5)]
        squashed = [part for layer in convolutions for part in (layer, Squash())]
        return nn.Sequential(*squashed, nn.Flatten(), nn.Linear(120, 84), Squash(), Codes())

    def mlp(hidden, drop_rate, **_):
        parts, width = [nn.Flatten()], 784
        for units in hidden:
            parts += [nn.Linear(width, units), nn.ReLU(), nn.Dropout(drop_rate)]
            width = units
        return nn.Sequential(*parts, nn.Linear(width, 10))

    def loss(logits, targets):
        if recipe.loss == "cross_entropy":
            return nn.functional.cross_entropy(logits, targets)
        rubbish = torch.full((len(logits), 1), -float(data["rubbish"]))
        return (torch.logsumexp(torch.cat([logits, rubbish], 1), 1) - logits.gather(1, targets[:, None])[:, 0]).mean()

    recipe = load_recipe(name)
    images, labels = data["images"].permute(0, 3, 1, 2).contiguous(), data["labels"]
    model = lenet5() if recipe.model == "lenet5" else mlp(**recipe.model_args)
    optimizer = torch.optim.Adam(model.parameters(), recipe.learning_rate)
    clock = Clock()
    for _ in range(EPOCHS):
        clock.start()
        order = torch.randperm(len(images))
        for first in range(0, len(images) - recipe.batch_size + 1, recipe.batch_size):
            batch = order[first : first + recipe.batch_size]
            optimizer.zero_grad()
            loss(model(images[batch]), labels[batch]).backward()
            optimizer.step()
        clock.stop()
    return clock.seconds


def arrays(recipe):
    """All of MNIST's training split, preprocessed to float32, and its labels."""
    from zoo.tasks.table import create_task

    task = create_task(recipe)
    task.prepare()
    train = task.data.train
    return task.preprocessing(train.pictures).numpy(), train.labels


def compare(name: str, path: str) -> None:
    """Runs every contender on one recipe in turn, and prints images per second and ratios."""
    contenders = {"zoo.run": ["engine", name]}
    for jit, steps in PLAIN:
        contenders[f"plain fit, jit_compile={jit}, steps_per_execution={steps}"] = ["plain", name, jit, steps]
    if importlib.util.find_spec("torch"):
        in_a_process(__file__, ["prepare", name, path])
        contenders["PyTorch loop"] = ["pytorch", name, path]
    speed: dict[str, list[float]] = {label: [] for label in contenders}
    memory = 0.0
    for _ in range(ROUNDS):
        for label, call in contenders.items():
            print(f"  {name}: {label} …", file=sys.stderr, flush=True)
            seconds, peak = in_a_process(__file__, call)
            speed[label] += [60_000 / value for value in seconds[1:]]
            memory = max(memory, peak if call[0] == "engine" else 0)
    # The fastest epoch: whatever else the machine does can only slow one down.
    fastest = {label: max(values) for label, values in speed.items()}
    best = max(value for label, value in fastest.items() if label.startswith("plain"))
    print(f"\n{name} (zoo.run takes {memory:.2f} GB of memory at most)")
    for label, value in fastest.items():
        print(f"  {label:<52} {value:9,.0f} images/s   {value / best:5.2f} × the best plain fit")


def main() -> None:
    """Compares the contenders on both recipes."""
    given(__doc__)
    with tempfile.TemporaryDirectory() as scratch:
        for name in RECIPES:
            compare(name, f"{scratch}/{name}.npz")


if __name__ == "__main__":
    contest(globals(), main)
