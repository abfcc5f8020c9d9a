"""Network in Network on CIFAR-10 in 25 epochs: one cosine cycle with warm-up, Nesterov momentum, pad-and-crop and flip.

    python recipes/nin_cifar10_fast.py

Ours: nothing is published for these settings. They aim at the best test accuracy within three hours of two CPU cores.
Lin et al. 2014 report 89.59 % without augmentation and 91.19 % with it, after 260 epochs.
"""

import zoo

recipe = zoo.ImageRecipe(
    name="nin_cifar10_fast",
    model="nin_cifar",
    dataset="cifar10",
    epochs=25,
    batch_size=128,
    learning_rate=0.04,
    schedule="cosine",
    warmup_epochs=2,
    momentum=0.9,
    nesterov=True,
    learning_rate_factors={"cccp6/kernel": 0.1, "*/bias": 2.0},
    weight_decay=0.0001,
    normalisation="gcn_zca",
    random_shift=4,
    random_flip=True,
    paper={"test_accuracy": 0.8959},
)

if __name__ == "__main__":
    zoo.main(recipe)
