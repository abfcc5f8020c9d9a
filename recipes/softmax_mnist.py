"""Softmax regression on MNIST: the linear baseline.

    python recipes/softmax_mnist.py

Ours: a convex problem, trained close to its minimum. scikit-learn's LogisticRegression (lbfgs, C = 1) reaches 92.14 %
test accuracy on the same pixels. LeCun et al. 1998 report 12.0 % error for their linear classifier, which is trained
with squared errors.
"""

import zoo

recipe = zoo.ImageRecipe(
    name="softmax_mnist",
    model="softmax_regression",
    dataset="mnist",
    epochs=20,
    batch_size=100,
    optimizer="sgd",
    learning_rate=0.1,
    schedule="cosine",
    momentum=0.9,
    weight_decay=1e-5,
)

if __name__ == "__main__":
    zoo.main(recipe)
