"""VGG-16 on CIFAR-10 in 38 epochs: one cosine cycle with warm-up, Nesterov momentum, pad-and-crop and flip.

    python recipes/vgg16_cifar10_fast.py

Ours: nothing is published for these settings. They aim at the best test accuracy within three hours of two CPU cores.
kuangliu/pytorch-cifar reports 92.64 % after 200 epochs. Of weight decays of 5e-4 and 1e-3, the latter was better on
5,000 training images that were held out for the comparison. In bfloat16, which is used where the devices compute in it,
38 epochs are about three hours of two CPU cores.
"""

import zoo

recipe = zoo.ImageRecipe(
    name="vgg16_cifar10_fast",
    model="vgg16_cifar",
    dataset="cifar10",
    precision="auto",
    epochs=38,
    batch_size=128,
    learning_rate=0.1,
    schedule="cosine",
    warmup_epochs=2,
    momentum=0.9,
    nesterov=True,
    weight_decay=0.001,
    pixel_mean=(125.3, 123.0, 113.9),
    pixel_std=(63.0, 62.1, 66.7),
    random_shift=4,
    random_flip=True,
    paper={"test_accuracy": 0.9264},
)

if __name__ == "__main__":
    zoo.main(recipe)
