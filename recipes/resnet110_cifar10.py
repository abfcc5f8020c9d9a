"""ResNet-110 on CIFAR-10 as published: He, Zhang, Ren & Sun, CVPR 2016, section 4.2.

    python recipes/resnet110_cifar10.py

Table 6 reports 6.43 % test error, the best of five runs; their mean is 6.61 % with a standard deviation of 0.16. The
settings are those of `resnet20_cifar10`, except for the warm-up: the first 400 steps have a rate of 0.01, after which
the training error is below 80 %.

Not trained to its end: it has been run for 780 of its 64,000 steps, which take about 23 hours of two CPU cores.
"""

import zoo

recipe = zoo.ImageRecipe(
    name="resnet110_cifar10",
    model="resnet110",
    dataset="cifar10",
    epochs=165,
    limit_steps=64_000,
    batch_size=128,
    learning_rate=0.01,
    schedule="piecewise",
    schedule_epochs=(400 / 390, 32_000 / 390, 48_000 / 390),  # 390 full batches of 128 an epoch
    schedule_factors=(10.0, 1.0, 0.1),
    momentum=0.9,
    weight_decay=1e-4,
    normalisation="mean_image",
    pixel_std=(1.0,),
    random_shift=4,
    random_flip=True,
    paper={"test_accuracy": 0.9339},
)

if __name__ == "__main__":
    zoo.main(recipe)
