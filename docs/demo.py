"""The demonstration behind `make demo`: train LeNet-5 on real digits, export it, and let a stranger ask it.

The stranger is a fresh Python process in which `import zoo` fails. It loads the SavedModel with TensorFlow alone and
reads PNG files of digits from the test split, which the model has never seen.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import zoo
from zoo.recipe import load_recipe

FOLDER = Path("runs", "demo")

STRANGER = """
import sys, pathlib
try:
    import zoo
    sys.exit("the zoo can be imported here, so this proves nothing")
except ImportError:
    print("a fresh process without the zoo answers:")
import tensorflow as tf
answer = tf.saved_model.load(sys.argv[1]).signatures["image_bytes"]
files = sorted(pathlib.Path(sys.argv[2]).glob("*.png"))
result = answer(image_bytes=tf.constant([file.read_bytes() for file in files]))
labels, probabilities = result["labels"].numpy(), result["probabilities"].numpy().max(axis=-1)
right = 0
for file, label, probability in zip(files, labels, probabilities):
    truth = file.stem.split("_")[-1]
    right += label.decode() == truth
    print(f"  {file.name}: {label.decode()} ({probability:.1%})" + ("" if label.decode() == truth else "  wrong"))
print(f"  {right} of {len(files)} right")
"""


def write_digits(folder: Path) -> None:
    """Twelve scans of the test split as PNG files, 8 × 8 pixels as they were scanned; the name ends in the truth."""
    import tensorflow as tf

    from zoo.data.images import load_images
    from zoo.data.views import whole

    test = load_images("digits", whole((8, 8, 1))).test
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number, (image, label) in enumerate(zip(test.pictures[:12], test.labels[:12], strict=True)):
        (folder / f"digit{number:02}_is_{label}.png").write_bytes(tf.io.encode_png(image).numpy())


def main() -> int:
    """The exit status."""
    from zoo.cli.flags import load_tensorflow

    load_tensorflow()
    result = zoo.run(load_recipe("lenet5_digits"), run_dir=FOLDER, restart=True)
    digits = FOLDER / "digits"
    write_digits(digits)
    # -S leaves out what an editable installation puts on the path; the packages themselves are named by hand.
    environment = {**os.environ, "PYTHONPATH": sysconfig.get_path("purelib"), "TF_CPP_MIN_LOG_LEVEL": "3"}
    stranger = subprocess.run(
        [sys.executable, "-S", "-P", "-W", "ignore", "-c", STRANGER, str(result.export), str(digits)],
        env=environment,
        capture_output=True,
        text=True,
    )
    print(stranger.stdout, end="")
    if stranger.returncode:
        print(stranger.stderr, end="", file=sys.stderr)
        return stranger.returncode
    print(f"""
test accuracy      {result.metrics["test_accuracy"]:.2%} of digits the model has never seen
SavedModel         {result.export}
curves             {FOLDER / "curves.png"}
confusion matrix   {FOLDER / "confusion.png"}
PNG files          {digits}
logs               tensorboard --logdir {FOLDER / "tensorboard"}
""")
    return 0


if __name__ == "__main__":
    sys.exit(main())
