"""Ten perceptrons on MNIST, one against the rest, trained by Rosenblatt's rule one example at a time.

    python recipes/perceptron_mnist.py

No result is published for this setting. scikit-learn's Perceptron with the same order of examples and number of
passes has the same weights, to the bit: pixels stay whole numbers from 0 to 255 and are summed in double precision, so
nothing is rounded. The last weights of an online rule swing from pass to pass: scikit-learn's test accuracy on these
pixels runs from 82.8 % to 89.0 % over seeds. Give --seed to shuffle differently.
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
