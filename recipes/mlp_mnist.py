"""A multi-layer perceptron on MNIST: two hidden layers of 512 ReLU units with dropout.

    python recipes/mlp_mnist.py

Ours, similar to Srivastava et al. 2014 (JMLR 15:1929–1958), who report 1.25 % error for three layers of 1,024 ReLU
units with dropout and 1.06 % with a max-norm constraint. LeCun et al. 1998 report 4.7 % for 300 hidden units.
"""

import zoo

recipe = zoo.ImageRecipe(
    name="mlp_mnist",
    model="mlp",
    model_args={"hidden": (512, 512), "activation": "relu", "kernel_initializer": "he_normal", "drop_rate": 0.3},
    dataset="mnist",
    epochs=20,
    batch_size=128,
    optimizer="adam",
    learning_rate=0.001,
    schedule="cosine",
)

if __name__ == "__main__":
    zoo.main(recipe)
