"""ResNet-20 on CIFAR-10 in 75 epochs: one cosine cycle with warm-up, Nesterov momentum, pad-and-crop and flip.

    python recipes/resnet20_cifar10_fast.py

Ours: nothing is published for these settings. They aim at the best test accuracy within three hours of two CPU cores;
the paper's own schedule (`resnet20_cifar10`) takes 164 epochs. He et al. 2016, table 6, report 91.25 % with that one.
All 50,000 training images are trained on, and the last weights count.
"""

import zoo

recipe = zoo.ImageRecipe(
    name="resnet20_cifar10_fast",
    model="resnet20",
    dataset="cifar10",
    epochs=75,
    batch_size=128,
    learning_rate=0.2,
    schedule="cosine",
    warmup_epochs=5,
    momentum=0.9,
    nesterov=True,
    weight_decay=3e-4,
    pixel_mean=(125.3, 123.0, 113.9),
    pixel_std=(63.0, 62.1, 66.7),
    random_shift=4,
    random_flip=True,
    paper={"test_accuracy": 0.9125},
)

if __name__ == "__main__":
    zoo.main(recipe)
