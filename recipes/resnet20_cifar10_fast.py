"""ResNet-20 on CIFAR-10 in 50 epochs: one cosine cycle with warm-up, Nesterov momentum, pad-and-crop and flip.

    python recipes/resnet20_cifar10_fast.py

Ours: nothing is published for these settings. He et al. 2016, table 6, report 91.25 % with the schedule of
`resnet20_cifar10`, which takes 164 epochs. A flip alternates from epoch to epoch, and a test image is scored by the
mean logits of it and its mirror image, as in Jordan 2024 (`airbench94_cifar10`). All 50,000 training images are trained
on, and the last weights count.
"""

import zoo

recipe = zoo.ImageRecipe(
    name="resnet20_cifar10_fast",
    model="resnet20",
    dataset="cifar10",
    precision="auto",
    epochs=50,
    batch_size=128,
    learning_rate=0.2,
    schedule="cosine",
    warmup_epochs=5,
    momentum=0.9,
    nesterov=True,
    weight_decay=4e-4,
    pixel_mean=(125.3, 123.0, 113.9),
    pixel_std=(63.0, 62.1, 66.7),
    random_shift=4,
    random_flip=True,
    alternating_flip=True,
    test_views="mirror",
    paper={"test_accuracy": 0.9125},
)

if __name__ == "__main__":
    zoo.main(recipe)
