"""Training and inference of three vision nets: the engine beside Keras Applications and PyTorch with timm.

    python benchmarks/vision.py [resnet20] [resnet50] [vgg16]

ResNet-20 trains on CIFAR-10 in batches of 128; ResNet-50 and VGG-16 with two classes on 32 pictures of 224 × 224 in
batches of 8. The engine is a recipe's whole run, its augmentation and export among it. Plain Keras is `model.fit` on
arrays in memory with Keras's defaults, of `keras.applications` where it has the net, else of the zoo's graph with
Keras's own batch normalisation and a strided slice in its shortcuts. PyTorch is a plain loop, in channels_last;
ResNet-50 and VGG-16 are timm's. Both take part where they are installed. For inference the engine's contender is the
exported signature, uint8 pictures in, answers out; Keras's is `model.predict`, PyTorch's the model under
`inference_mode`. Each net runs in float32, then in bfloat16 with weights in float32; for inference PyTorch's weights
are in bfloat16 too, which is faster. The last line is the input pipeline alone, on one core.
"""

import importlib.util
import os
import statistics
import sys
import tempfile
from pathlib import Path

from contest import PRECISIONS, Clock, contest, given, in_a_process, mixed, set_policy, timed

ROUNDS, EPOCHS = 2, 3  # the first epoch does not count
# Net: side of its images, batch, steps of an epoch, classes, the recipe, its name in keras.applications and in timm.
NETS = {
    "resnet20": (32, 128, 130, 10, "resnet20_cifar10_fast", None, None),
    "resnet50": (224, 8, 6, 2, "resnet50_imagenet2012", "ResNet50", "resnet50"),
    "vgg16": (224, 8, 6, 2, "vgg16_imagenet2012", "VGG16", "vgg16"),
}


def pictures(name: str, count: int):
    """Random uint8 pictures and their labels."""
    import numpy as np

    side, *_, classes = NETS[name][:4]
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8), rng.integers(0, classes, count)


def engine(name: str, precision: str) -> dict[str, list[float]]:
    """Images per second of `zoo.run`, and of its export's signature."""
    from dataclasses import replace

    import tensorflow as tf

    import zoo
    from zoo.recipe import load_recipe

    side, batch, steps, classes, recipe, *_ = NETS[name]
    recipe = replace(load_recipe(recipe), batch_size=batch, steps_per_epoch=steps, limit_steps=None, warmup_epochs=0)
    recipe = replace(recipe, epochs=EPOCHS, precision=precision, test_views="centre")
    clock = Clock()
    with tempfile.TemporaryDirectory() as scratch:
        if side > 32:
            images, _ = pictures(name, 40)
            for i, image in enumerate(images):
                path = Path(scratch, "pictures", f"class{i % classes}", f"{i}.png")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(tf.io.encode_png(image).numpy())
            recipe = replace(recipe, dataset=f"folder:{scratch}/pictures", crop="none", colour_noise=0.0)
            recipe = replace(recipe, learning_rate=1e-4)  # learns from noise without leaving bounds
        result = zoo.run(recipe, run_dir=f"{scratch}/run", callbacks=[clock.watch()])
        # An export is in float32, and a server chooses what it computes in.
        tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": precision == "bfloat16"})
        serve = tf.saved_model.load(str(result.export)).signatures["serving_default"]
        images, _ = pictures(name, batch)
        images = tf.constant(images)
        inference = timed(lambda: serve(images=images), batch)
    return {"training": [batch * steps / seconds for seconds in clock.seconds[1:]], "inference": inference}


def plain(name: str, precision: str) -> dict[str, list[float]]:
    """Images per second of Keras's own `fit` and `predict` with their defaults."""
    import keras
    import numpy as np

    import zoo.models.resnet

    set_policy(precision)
    _, batch, steps, classes, _, application, _ = NETS[name]
    if application:
        model = getattr(keras.applications, application)(weights=None, classes=classes, classifier_activation=None)
    else:
        zoo.models.resnet.BatchNormalization = keras.layers.BatchNormalization
        zoo.models.resnet.IdentityShortcut = sliced_shortcut
        model = zoo.build(name)
    images, labels = pictures(name, batch * steps)
    images = images.astype(np.float32) / 255
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    clock = Clock()
    model.fit(images, labels, batch_size=batch, epochs=EPOCHS, verbose=2, callbacks=[clock.watch()])
    inference = timed(lambda: model.predict(images, batch_size=batch, verbose=0), len(images))
    return {"training": [len(images) / seconds for seconds in clock.seconds[1:]], "inference": inference}


def sliced_shortcut(filters: int, stride: int, name: str):
    """An option A shortcut as one writes it."""
    import keras

    def call(x):
        return keras.ops.pad(x[:, ::stride, ::stride], [[0, 0], [0, 0], [0, 0], [0, filters - x.shape[-1]]])

    return keras.layers.Lambda(call, name=name)


def pytorch(name: str, precision: str) -> dict[str, list[float]]:
    """Images per second of a plain PyTorch loop, in channels_last."""
    import torch

    _, batch, steps, classes, _, _, timm_name = NETS[name]
    if timm_name:
        import timm

        model = timm.create_model(timm_name, num_classes=classes)
    else:
        model = torch_resnet20()
    model = model.to(memory_format=torch.channels_last)
    images, labels = pictures(name, batch * steps)
    images = torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(255).to(memory_format=torch.channels_last)
    labels = torch.from_numpy(labels)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    clock = Clock()
    for _ in range(EPOCHS):
        clock.start()
        for first in range(0, len(images), batch):
            optimizer.zero_grad()
            with mixed(precision):
                logits = model(images[first : first + batch])
            torch.nn.functional.cross_entropy(logits.float(), labels[first : first + batch]).backward()
            optimizer.step()
        clock.stop()
    model = model.eval().to(getattr(torch, precision))
    request = images[:batch].to(getattr(torch, precision))
    with torch.inference_mode():
        inference = timed(lambda: model(request), batch)
    return {"training": [len(images) / seconds for seconds in clock.seconds[1:]], "inference": inference}


def torch_resnet20():
    """The paper's net for CIFAR, with option A shortcuts."""
    import torch
    from torch import nn

    class Unit(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
                nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
                nn.BatchNorm2d(outputs),
            )
            self.stride, self.more = stride, outputs - inputs

        def forward(self, x):
            shortcut = x[:, :, :: self.stride, :: self.stride] if self.stride > 1 else x
            if self.more:
                shortcut = nn.functional.pad(shortcut, (0, 0, 0, 0, 0, self.more))
            return torch.relu(self.body(x) + shortcut)

    widths = [(16, 16, 1)] * 3 + [(16, 32, 2), (32, 32, 1), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 64, 1)]
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(inplace=True),
        *[Unit(*row) for row in widths],
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


def pipeline(name: str) -> list[float]:
    """Images per second of the augmenting input pipeline alone, on one core."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    from zoo.recipe import load_recipe
    from zoo.tasks.table import create_task

    recipe = load_recipe(NETS[name][4])
    task = create_task(recipe)
    task.prepare()
    batches = iter(task.training_batches(0))
    for _ in range(50):
        next(batches)
    return timed(lambda: [next(batches) for _ in range(100)], 100 * recipe.batch_size)


def main() -> None:
    """Runs every contender in turn, and prints images per second and ratios."""
    for name in given(__doc__, "NET", NETS):
        contenders = {"zoo.run, and its export": "engine", "plain Keras": "plain"}
        if importlib.util.find_spec("torch") and (NETS[name][6] is None or importlib.util.find_spec("timm")):
            contenders["PyTorch, channels_last"] = "pytorch"
        for precision in PRECISIONS:
            speed = {label: {"training": [], "inference": []} for label in contenders}
            memory = 0.0
            for _ in range(ROUNDS):
                for label, function in contenders.items():
                    print(f"  {name}, {precision}: {label} …", file=sys.stderr, flush=True)
                    rates, peak = in_a_process(__file__, [function, name, precision])
                    for kind in rates:
                        speed[label][kind] += rates[kind]
                    memory = max(memory, peak if function == "engine" else 0)
            print(f"\n{name}, {precision} (zoo.run takes {memory:.2f} GB of memory at most)")
            for kind in ("training", "inference"):
                # The fastest epoch: whatever else the machine does can only slow one down.
                best = {label: max(rates[kind]) for label, rates in speed.items()}
                ours = best["zoo.run, and its export"]
                for label, value in best.items():
                    print(f"  {kind:<10} {label:<26} {value:9,.1f} images/s   zoo {ours / value:5.2f} ×")
    rates, peak = in_a_process(__file__, ["pipeline", "resnet20"])
    print(f"\ninput pipeline of resnet20 alone, one core: {statistics.median(rates):,.0f} images/s, {peak:.2f} GB")


if __name__ == "__main__":
    contest(globals(), main)
