"""All-CNN-C on CIFAR-10 in 20 epochs: one cosine cycle with warm-up, Nesterov momentum, pad-and-crop and flip.

    python recipes/all_cnn_c_cifar10_fast.py

Ours: nothing is published for these settings. They aim at the best test accuracy within three hours of two CPU cores.
Springenberg et al. 2015 report 92.75 % after 350 epochs.
"""

import zoo

recipe = zoo.ImageRecipe(
    name="all_cnn_c_cifar10_fast",
    model="all_cnn_c",
    dataset="cifar10",
    epochs=20,
    batch_size=128,
    learning_rate=0.05,
    schedule="cosine",
    warmup_epochs=2,
    momentum=0.9,
    nesterov=True,
    weight_decay=0.001,
    normalisation="gcn_zca",
    random_shift=4,
    random_flip=True,
    paper={"test_accuracy": 0.9275},
)

if __name__ == "__main__":
    zoo.main(recipe)
