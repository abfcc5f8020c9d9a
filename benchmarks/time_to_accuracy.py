"""Minutes of training until a net reaches an accuracy: the engine beside a plain PyTorch loop.

    python benchmarks/time_to_accuracy.py [lenet5_modern_mnist] [resnet20_cifar10_fast] [airbench94_cifar10]
        [--precision float32] [--seed 0] [--epochs N]

Both train the net of a recipe with its optimizer, schedule, batches and augmentation, each in a process of its own, and
are scored on the test split after every epoch; scoring does not count as time. A contender ends with the first epoch
that reaches the accuracy, with the recipe, or after N epochs, which is enough to compare their speed. PyTorch takes
part where it is installed: a loop over arrays in memory, in channels_last, with autocast for bfloat16.
"""

import argparse
import importlib.util
import sys
import tempfile

from contest import PRECISIONS, Clock, arrays_of, contest, in_a_process, mixed
from vision import torch_resnet20

ACCURACY = {"lenet5_modern_mnist": 0.99, "resnet20_cifar10_fast": 0.91, "airbench94_cifar10": 0.94}


def recipe_of(name: str, precision: str, seed: int):
    """The recipe; it is loaded without TensorFlow."""
    from dataclasses import replace

    from zoo.recipe import load_recipe

    return replace(load_recipe(name), precision=precision, seed=seed)


def task_of(recipe):
    """The task of a recipe, with its data."""
    from zoo.tasks.table import create_task

    task = create_task(recipe)
    task.prepare()
    return task


def prepare(name: str, path: str) -> None:
    """Writes the images, the labels and the rate of each step to `path`, for a process without TensorFlow."""
    import numpy as np

    from zoo.training.optimizers import learning_rate

    recipe = recipe_of(name, "float32", 0)
    data = task_of(recipe).data
    per_epoch = len(data.train) // recipe.batch_size
    rate = learning_rate(recipe, per_epoch)
    rates = [float(rate(np.int64(step))) for step in range(recipe.total_steps(per_epoch))]
    np.savez(path, **arrays_of(data), rates=rates)


def engine(name: str, precision: str, seed: int, epochs: int) -> list[tuple[float, float]]:
    """Minutes so far and test accuracy after each epoch of `zoo.run`."""
    import keras

    import zoo
    from zoo.training.training import Interrupted

    recipe = recipe_of(name, precision, seed)
    task, clock, scores = task_of(recipe), Clock(), []

    class Score(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            accuracy = task.evaluate(self.model.net, scratch)["test_accuracy"]
            if add(scores, clock, accuracy, name) or len(scores) == epochs:
                raise KeyboardInterrupt

    with tempfile.TemporaryDirectory() as scratch:
        try:
            result = zoo.run(recipe, run_dir=f"{scratch}/run", callbacks=[clock.watch(), Score()])
            scores[-1] = (scores[-1][0], result.metrics["test_accuracy"])  # with the weights that the recipe keeps
        except Interrupted:
            pass
    return scores


def add(scores: list[tuple[float, float]], clock: Clock, accuracy: float, name: str) -> bool:
    """Adds a score, shows it, and returns whether it is high enough."""
    scores.append((sum(clock.seconds) / 60, accuracy))
    print(f"    epoch {len(scores)}: {scores[-1][0]:.2f} min, {accuracy:.2%}", file=sys.stderr, flush=True)
    return accuracy >= ACCURACY[name]


def pytorch(name: str, precision: str, seed: int, epochs: int, path: str) -> list[tuple[float, float]]:
    """The same of a plain PyTorch loop, on what `prepare` wrote to `path`."""
    import numpy as np
    import torch

    recipe = recipe_of(name, precision, seed)
    torch.manual_seed(seed)
    with np.load(path) as data:
        train, test = (tensors(data[f"{split}_images"], data[f"{split}_labels"]) for split in ("train", "test"))
        rates = data["rates"].tolist()
    per_epoch = len(train[0]) // recipe.batch_size
    net = {"lenet5_modern": torch_lenet, "resnet20": torch_resnet20, "airbench94": torch_airbench}[recipe.model]()
    if recipe.model == "resnet20":  # as the paper; PyTorch's own start is smaller
        for part in net.modules():
            if isinstance(part, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(part.weight)
    net = net.to(memory_format=torch.channels_last)
    if recipe.adapt_images:
        whiten(net[0], normalised(train[0][: recipe.adapt_images], recipe))
    groups = parameter_groups(net, recipe)
    if recipe.optimizer == "adam":
        optimizer = torch.optim.Adam(groups, recipe.learning_rate)
    else:
        optimizer = torch.optim.SGD(groups, recipe.learning_rate, recipe.momentum, nesterov=recipe.nesterov)
    slow = [weight.detach().clone() for weight in net.state_dict().values()]
    clock, scores, order = Clock(), [], torch.randperm(len(train[0]))
    for step, factor in enumerate(rates):
        if step % per_epoch == 0:
            clock.start()
            net.train()
            order = torch.randperm(len(train[0]))
        if recipe.frozen_after and step == recipe.frozen_after["whiten/bias"] * per_epoch:
            net[0].bias.requires_grad_(False)
        batch = order[step % per_epoch * recipe.batch_size :][: recipe.batch_size]
        for group in optimizer.param_groups:
            group["lr"] = factor * group["factor"]
        images = augmented(normalised(train[0][batch], recipe), batch, step // per_epoch, recipe)
        optimizer.zero_grad()
        with mixed(precision):
            logits = net(images)
        loss = torch.nn.functional.cross_entropy(
            logits.float(), train[1][batch], label_smoothing=recipe.label_smoothing
        )
        loss.backward()
        optimizer.step()
        last = step + 1 == len(rates)
        if recipe.lookahead_steps and ((step + 1) % recipe.lookahead_steps == 0 or last):
            share = 1.0 if last else recipe.lookahead_decay * ((step + 1) / len(rates)) ** recipe.lookahead_power
            look_ahead(net, slow, share)
        if (step + 1) % per_epoch == 0 or last:
            clock.stop()
            if add(scores, clock, accuracy_of(net, test, recipe, precision), name) or len(scores) == epochs:
                break
    return scores


def tensors(images, labels):
    """Images (N, H, W, C) as (N, C, H, W) and labels."""
    import torch

    images = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    return images, torch.from_numpy(labels).long()


def normalised(images, recipe):
    """uint8 images as the input of the net, with the border of the recipe."""
    import torch

    mean, std = (torch.tensor(value).view(1, -1, 1, 1) for value in (recipe.pixel_mean, recipe.pixel_std))
    return torch.nn.functional.pad((images.float() - mean) / std, [recipe.pad] * 4)


def augmented(images, order, epoch: int, recipe):
    """Shifted images, of which half are mirrored; `order` has the numbers of the images."""
    import torch

    if recipe.random_flip:
        mirrored = torch.rand(len(images)) < 0.5
        if recipe.alternating_flip:
            mirrored = (order * 7919 % 104729 + epoch) % 2 == 0
        images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)
    if shift := recipe.random_shift:
        mode = "reflect" if recipe.shift_fill == "reflect" else "constant"
        padded = torch.nn.functional.pad(images, [shift] * 4, mode).permute(0, 2, 3, 1)
        size, (down, right) = images.shape[2], torch.randint(2 * shift + 1, (2, len(images)))
        rows, columns = (start.view(-1, 1) + torch.arange(size) for start in (down, right))
        images = padded[torch.arange(len(images)).view(-1, 1, 1), rows[:, :, None], columns[:, None]]
        images = images.permute(0, 3, 1, 2)
    return images.contiguous(memory_format=torch.channels_last)


def parameter_groups(net, recipe) -> list[dict]:
    """Weights with the factor of their rate and their weight decay."""
    if recipe.learning_rate_factors:  # of airbench94: the biases of batch normalisation
        import torch

        biases = [part.bias for part in net.modules() if isinstance(part, torch.nn.BatchNorm2d)]
        others = [weight for weight in net.parameters() if all(weight is not bias for bias in biases)]
        (factor,) = recipe.learning_rate_factors.values()
        return [
            {"params": others, "factor": 1.0, "weight_decay": recipe.weight_decay},
            {"params": biases, "factor": factor, "weight_decay": recipe.weight_decay / factor},
        ]
    kernels = [weight for weight in net.parameters() if weight.ndim > 1]
    others = [weight for weight in net.parameters() if weight.ndim == 1]
    return [
        {"params": kernels, "factor": 1.0, "weight_decay": recipe.weight_decay},
        {"params": others, "factor": 1.0, "weight_decay": 0.0},
    ]


def look_ahead(net, slow: list, share: float) -> None:
    """Moves the slow weights towards the fast ones by 1 - `share`, and the fast ones there; at 1 only the latter."""
    import torch

    with torch.no_grad():
        for far, near in zip(slow, net.state_dict().values(), strict=True):
            if near.is_floating_point():
                far.lerp_(near, 1 - share)
                near.copy_(far)


def accuracy_of(net, test, recipe, precision: str) -> float:
    """Of the views of the recipe."""
    import torch

    net.eval()
    right = 0
    with torch.inference_mode(), mixed(precision):
        for first in range(0, len(test[0]), 500):
            images, labels = (part[first : first + 500] for part in test)
            images = normalised(images, recipe)
            views = [(1.0, images)]
            if recipe.test_views == "mirror_shift":
                wide, size = torch.nn.functional.pad(images, [1] * 4, "reflect"), images.shape[2]
                corners = [wide[:, :, at : at + size, at : at + size] for at in (0, 2)]
                views = [(0.5, images), (0.25, corners[0]), (0.25, corners[1])]
            if recipe.test_views != "centre":
                views = [(weight / 2, part) for weight, view in views for part in (view, view.flip(3))]
            logits = sum(weight * net(view).float() for weight, view in views)
            right += int((logits.argmax(1) == labels).sum())
    return right / len(test[0])


def torch_lenet():
    """`lenet5_modern`."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def torch_airbench():
    """`airbench94`, without the weights of its whitening layer."""
    from torch import nn

    class Scale(nn.Module):
        def forward(self, x):
            return x / 9

    parts, inputs = [nn.Conv2d(3, 24, 2), nn.GELU()], 24
    for filters in (64, 256, 256):
        first, second = (nn.Conv2d(count, filters, 3, padding="same", bias=False) for count in (inputs, filters))
        for convolution in (first, second):
            nn.init.dirac_(convolution.weight.data[: convolution.in_channels])
        norms = [nn.BatchNorm2d(filters, eps=1e-12, momentum=0.4) for _ in range(2)]
        for norm in norms:
            norm.weight.requires_grad_(False)
        parts += [first, nn.MaxPool2d(2), norms[0], nn.GELU(), second, norms[1], nn.GELU()]
        inputs = filters
    return nn.Sequential(*parts, nn.MaxPool2d(3), nn.Flatten(), nn.Linear(256, 10, bias=False), Scale())


def whiten(convolution, images) -> None:
    """Sets the filters to the principal components of 2 × 2 patches, each of variance 1, and the same negated."""
    import torch

    patches = torch.nn.functional.unfold(images, 2).permute(0, 2, 1).reshape(-1, 12)
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = (vectors / torch.sqrt(values + 5e-4)).T.flip(0).reshape(12, 3, 2, 2)
    convolution.weight.data.copy_(torch.cat([filters, -filters]))
    convolution.weight.requires_grad_(False)
    torch.nn.init.zeros_(convolution.bias)


def main() -> None:
    """Prints for each net the minutes of each contender, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("recipes", nargs="*", default=list(ACCURACY), metavar="RECIPE")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=0, help="end after this number of epochs; 0: do not")
    options = parser.parse_args()
    if unknown := set(options.recipes) - set(ACCURACY):
        parser.error(f"no accuracy is set for {', '.join(unknown)}; the recipes are {', '.join(ACCURACY)}")
    contenders = {"zoo.run": "engine"} | ({"PyTorch": "pytorch"} if importlib.util.find_spec("torch") else {})
    for name in options.recipes:
        print(f"{name}, {options.precision}, seed {options.seed}: until {ACCURACY[name]:.0%} on the test split")
        minutes = {}
        with tempfile.TemporaryDirectory() as scratch:
            for label, function in contenders.items():
                print(f"  {label} …", file=sys.stderr, flush=True)
                call = [function, name, options.precision, options.seed, options.epochs]
                if function == "pytorch":
                    call.append(f"{scratch}/data.npz")
                    in_a_process(__file__, ["prepare", name, call[-1]])
                scores, _ = in_a_process(__file__, call)
                minutes[label], accuracy = scores[-1]
                reached = "reached" if accuracy >= ACCURACY[name] else "not reached"
                print(f"  {label:<8} {reached} after {len(scores)} epochs: {minutes[label]:6.2f} min, {accuracy:.2%}")
        if len(minutes) == 2:
            print(f"  zoo {minutes['PyTorch'] / minutes['zoo.run']:.2f} × as fast", flush=True)


if __name__ == "__main__":
    contest(globals(), main)
