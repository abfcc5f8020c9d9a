"""Ten perceptrons on MNIST, one-versus-rest, trained with Rosenblatt's rule on one example at a time.

    python recipes/perceptron_mnist.py

No result is published for this setting. scikit-learn's Perceptron, with the same order of examples and number of
passes, has exactly the same weights: pixels are integers from 0 to 255 and sums are in double precision, so nothing is
rounded. The last weights of an online rule vary from pass to pass: scikit-learn's test accuracy on these pixels is
between 82.8 % and 89.0 % over seeds. `--seed` selects another order.
"""

import zoo

recipe = zoo.ImageRecipe(
    name="perceptron_mnist",
    model="perceptron",
    dataset="mnist",
    epochs=5,
    batch_size=1,  # the rule corrects after each example
    optimizer="sgd",
    learning_rate=1.0,  # with weights that start at zero, another rate only scales them
    loss="perceptron",
    pixel_std=(1.0,),
    precision="float64",
    steps_per_execution=1000,
)

if __name__ == "__main__":
    zoo.main(recipe)
