"""ResNet-56 on CIFAR-10 in 70 epochs: one cosine cycle with warm-up, Nesterov momentum, pad-and-crop and flip.

    python recipes/resnet56_cifar10_fast.py

Ours: nothing is published for these settings. They aim at the best test accuracy within three hours of two CPU cores.
He et al. 2016, table 6, report 93.03 % after 164 epochs. In bfloat16, which is used where the devices compute in it,
70 epochs are about two hours and forty minutes of two CPU cores.
"""

import zoo

recipe = zoo.ImageRecipe(
    name="resnet56_cifar10_fast",
    model="resnet56",
    dataset="cifar10",
    precision="auto",
    epochs=70,
    batch_size=128,
    learning_rate=0.2,
    schedule="cosine",
    warmup_epochs=5,
    momentum=0.9,
    nesterov=True,
    weight_decay=0.0003,
    pixel_mean=(125.3, 123.0, 113.9),
    pixel_std=(63.0, 62.1, 66.7),
    random_shift=4,
    random_flip=True,
    paper={"test_accuracy": 0.9303},
)

if __name__ == "__main__":
    zoo.main(recipe)
