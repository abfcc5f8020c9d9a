"""Inception-small on CIFAR-10 in 30 epochs: one cosine cycle with warm-up, Nesterov momentum, random windows and flip.

    python recipes/inception_small_cifar10_fast.py

Ours: nothing is published for these settings. They aim at the best test accuracy within three hours of two CPU cores.
Zhang et al. 2017, table 1, report 89.31 %. In bfloat16, which is used where the devices compute in it, 30 epochs are
about 1 hour 40 minutes of two CPU cores.
"""

import zoo

recipe = zoo.ImageRecipe(
    name="inception_small_cifar10_fast",
    model="inception_small",
    dataset="cifar10",
    precision="auto",
    epochs=30,
    batch_size=128,
    learning_rate=0.1,
    schedule="cosine",
    warmup_epochs=2,
    momentum=0.9,
    nesterov=True,
    weight_decay=0.0005,
    crop="square",
    train_sizes=(32,),
    test_size=32,
    pixel_mean=(125.3, 123.0, 113.9),
    pixel_std=(63.0, 62.1, 66.7),
    random_flip=True,
    paper={"test_accuracy": 0.8931},
)

if __name__ == "__main__":
    zoo.main(recipe)
