"""The student of Hinton, Vinyals & Dean 2015 (arXiv:1503.02531), section 3, distilled: two hidden layers of 800 units.

    python recipes/mlp_1200_mnist.py
    python recipes/mlp_800_distilled_mnist.py

The paper: 74 errors on the 10,000 test images (99.26 %), where the student alone makes 146; it learns the probabilities
of the teacher at a temperature of 20 on images that are not shifted. The paper does not state the weight of the two
parts of the loss, nor optimizer, rate or epochs; they are ours. The teacher is the last run of `mlp_1200_mnist`. Ours,
three seeds with a teacher of 74 errors: 105 to 122 errors (98.84 %), where the student alone makes 137 to 141. The loss
of the teacher's part has the factor T² = 400, as in the paper.
"""

import zoo

recipe = zoo.ImageRecipe(
    name="mlp_800_distilled_mnist",
    model="mlp",
    model_args={"hidden": (800, 800), "kernel_initializer": "he_normal"},
    dataset="mnist",
    teacher="runs/mlp_1200_mnist/latest",
    temperature=20.0,
    alpha=0.9,
    epochs=20,
    batch_size=128,
    optimizer="adam",
    learning_rate=0.001,
    schedule="cosine",
    paper={"test_accuracy": 0.9926},
)

if __name__ == "__main__":
    zoo.main(recipe)
