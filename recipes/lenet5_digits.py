"""LeNet-5 on scikit-learn's 1,797 scanned digits, a real data set that needs no network: the demonstration.

    python recipes/lenet5_digits.py

Ours: nothing is published for this data. The 8 × 8 scans are enlarged to 28 × 28 and padded like the digits of MNIST.
"""

import zoo

recipe = zoo.ImageRecipe(
    name="lenet5_digits",
    model="lenet5",
    dataset="digits",
    epochs=30,
    batch_size=16,
    optimizer="sgd",
    learning_rate=0.002,
    schedule="cosine",
    momentum=0.9,
    loss="rbf_map",
    pad=2,
    pixel_mean=(20.0,),  # black becomes −0.1 and white 1.175, as in the paper
    pixel_std=(200.0,),
)

if __name__ == "__main__":
    zoo.main(recipe)
