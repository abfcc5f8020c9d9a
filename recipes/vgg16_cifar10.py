"""VGG-16 with batch normalisation on CIFAR-10, as in kuangliu/pytorch-cifar.

    python recipes/vgg16_cifar10.py

The VGG paper has no CIFAR net, so there is no published recipe; pytorch-cifar's README reports 92.64 % test accuracy
for this net and this training: SGD with momentum 0.9, rate 0.1 down to zero along a cosine over 200 epochs, weight
decay 5e-4, batches of 128, padding by 4 with a random window or its mirror image. Here only kernels decay, and weights
start as Glorot & Bengio's, not as PyTorch's.

At this rate the first epochs learn little: the loss leaps to 5 within twenty steps and comes down to 2.3, accuracy
staying at 10 % (measured in PyTorch, with its own start, as well: mean losses 5.2, 3.6, 2.5, 2.4 … 2.29 of each twenty
of the first 160 steps).
"""

import zoo

recipe = zoo.ImageRecipe(
    name="vgg16_cifar10",
    model="vgg16_cifar",
    dataset="cifar10",
    epochs=200,
    batch_size=128,
    learning_rate=0.1,
    schedule="cosine",
    momentum=0.9,
    weight_decay=5e-4,
    pixel_mean=(125.3, 123.0, 113.9),
    pixel_std=(63.0, 62.1, 66.7),
    random_shift=4,
    random_flip=True,
    paper={"test_accuracy": 0.9264},
)

if __name__ == "__main__":
    zoo.main(recipe)
