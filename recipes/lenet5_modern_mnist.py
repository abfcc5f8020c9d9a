"""The modern LeNet-5 on MNIST: ReLU, max-pooling, softmax, Adam, small random shifts.

    python recipes/lenet5_modern_mnist.py

Ours: nothing is published for these settings. LeCun et al. 1998 report 0.95 % test error for the original model without
distorted training images and 0.8 % with them.
"""

import zoo

recipe = zoo.ImageRecipe(
    name="lenet5_modern_mnist",
    model="lenet5_modern",
    dataset="mnist",
    epochs=20,
    batch_size=128,
    optimizer="adam",
    learning_rate=0.002,
    schedule="cosine",
    random_shift=2,
    pad=2,
)

if __name__ == "__main__":
    zoo.main(recipe)
