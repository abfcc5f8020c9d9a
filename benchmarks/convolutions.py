"""The convolutions of two nets alone, forward and both gradients, in TensorFlow and in PyTorch.

    python benchmarks/convolutions.py [resnet20] [airbench94]

Both compute them with oneDNN, whose version each brings along, in channels_last. The milliseconds are those of one
training step, summed over the net's 3 × 3 convolutions, without anything between them. What a whole step gains over
PyTorch's can only come from the rest of it. PyTorch takes part where it is installed.
"""

import importlib.util

from contest import PRECISIONS, contest, given, in_a_process, timed

SECONDS = 0.2  # of each of five rounds
# Net: batch, and the side of the input, its channels, the filters, the stride and the number of such layers.
NETS = {
    "resnet20": (
        128,
        [
            (32, 3, 16, 1, 1),
            (32, 16, 16, 1, 6),
            (32, 16, 32, 2, 1),
            (16, 32, 32, 1, 5),
            (16, 32, 64, 2, 1),
            (8, 64, 64, 1, 5),
        ],
    ),
    "airbench94": (
        256,
        [
            (31, 24, 64, 1, 1),
            (15, 64, 64, 1, 1),
            (15, 64, 256, 1, 1),
            (7, 256, 256, 1, 2),
            (3, 256, 256, 1, 1),
        ],
    ),
}
KINDS = ("forward", "gradient of the kernel", "gradient of the input")


def tensorflow(name: str, precision: str) -> list[float]:
    """Milliseconds of each kind, summed over the layers."""
    import tensorflow as tf

    def calls(batch, side, inputs, filters, stride):
        out = -(-side // stride)
        shapes = [(batch, side, side, inputs), (3, 3, inputs, filters), (batch, out, out, filters)]
        images, kernel, gradient = (tf.cast(tf.random.normal(shape), precision) for shape in shapes)
        also = {"strides": [1, stride, stride, 1], "padding": "SAME"}
        operations = tf.raw_ops
        return [
            tf.function(lambda: operations.Conv2D(input=images, filter=kernel, **also)),
            tf.function(
                lambda: operations.Conv2DBackpropFilter(
                    input=images, filter_sizes=shapes[1], out_backprop=gradient, **also
                )
            ),
            tf.function(
                lambda: operations.Conv2DBackpropInput(
                    input_sizes=shapes[0], filter=kernel, out_backprop=gradient, **also
                )
            ),
        ]

    return summed(name, calls)


def pytorch(name: str, precision: str) -> list[float]:
    """The same of PyTorch."""
    import torch

    def calls(batch, side, inputs, filters, stride):
        out = -(-side // stride)
        shapes = [(batch, inputs, side, side), (filters, inputs, 3, 3), (batch, filters, out, out)]
        images, kernel, gradient = (
            torch.randn(shape).to(getattr(torch, precision), memory_format=torch.channels_last) for shape in shapes
        )
        # No bias; strides, padding, dilation, not transposed, output padding, groups; of what the gradient is wanted.
        also = [None, [stride] * 2, [1] * 2, [1] * 2, False, [0] * 2, 1]
        backward = torch.ops.aten.convolution_backward
        return [
            lambda: torch.conv2d(images, kernel, stride=stride, padding=1),
            lambda: backward(gradient, images, kernel, *also, [False, True, False]),
            lambda: backward(gradient, images, kernel, *also, [True, False, False]),
        ]

    with torch.no_grad():
        return summed(name, calls)


def summed(name: str, calls) -> list[float]:
    """Milliseconds of each kind over the layers of a net; `calls` makes a layer's calls, one of each kind."""
    batch, layers = NETS[name]
    total = [0.0] * len(KINDS)
    for *layer, count in layers:
        for kind, call in enumerate(calls(batch, *layer)):
            # The fastest round: whatever else the machine does can only slow one down.
            total[kind] += count * 1000 / max(timed(call, 1, SECONDS))
    return total


def main() -> None:
    """Prints milliseconds of each kind in each precision, and the ratio of the sums."""
    contenders = {"TensorFlow": "tensorflow"} | ({"PyTorch": "pytorch"} if importlib.util.find_spec("torch") else {})
    for name in given(__doc__, "NET", NETS):
        for precision in PRECISIONS:
            print(f"\n{name}, {precision}, batch {NETS[name][0]}")
            sums = {}
            for label, function in contenders.items():
                times, _ = in_a_process(__file__, [function, name, precision])
                sums[label] = sum(times)
                parts = ", ".join(f"{kind} {value:.1f}" for kind, value in zip(KINDS, times, strict=True))
                print(f"  {label:<10} {sums[label]:7.1f} ms: {parts}", flush=True)
            if len(sums) == 2:
                print(f"  TensorFlow {sums['PyTorch'] / sums['TensorFlow']:.2f} × as fast")


if __name__ == "__main__":
    contest(globals(), main)
