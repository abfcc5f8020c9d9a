"""VGG-16 with batch normalisation on CIFAR-10, as in kuangliu/pytorch-cifar.

    python recipes/vgg16_cifar10.py

The VGG paper has no CIFAR model, so there is no published recipe. The README of pytorch-cifar reports 92.64 % test
accuracy for this model, beside an earlier schedule of 350 epochs. The settings are those of its main.py: SGD with
momentum 0.9, a cosine schedule from 0.1 to zero over 200 epochs, weight decay 5e-4, batches of 128, padding by 4 with
random crops and horizontal flips. Differences: only kernels have weight decay, the initialisation is that of Glorot &
Bengio, not PyTorch's, the rate changes with each step and not each epoch, and pixels are divided by 63.0, 62.1 and 66.7
and not by 51.6, 50.8 and 51.3.

At this rate the model learns little in the first epochs: the loss rises to 5 within twenty steps and falls to 2.3,
while the accuracy stays at 10 %. PyTorch, with its own initialisation, shows the same: the mean losses of each twenty
of the first 160 steps are 5.2, 3.6, 2.5, 2.4 … 2.29.

78,000 steps take about 24 hours of two CPU cores. On a GPU the recipe gave 93.16 %.
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
