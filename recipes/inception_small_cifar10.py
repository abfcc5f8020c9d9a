"""The small Inception on CIFAR-10: Zhang, Bengio, Hardt, Recht & Vinyals, ICLR 2017, appendix A.

    python recipes/inception_small_cifar10.py

Table 1 reports 89.31 % test accuracy with random crops and without weight decay; this recipe is that row. SGD with
momentum 0.9, the rate 0.1 multiplied by 0.95 after each epoch. Crops of 28 × 28, random in training and central in
testing, each normalised to mean 0 and standard deviation 1. The paper does not state the batch size (here 128) and the
number of epochs (here 100, after which the rate is 1/200 of the first).

39,000 steps take about 12 hours of two CPU cores. On a GPU the recipe gave 89.52 %.
"""

import zoo

recipe = zoo.ImageRecipe(
    name="inception_small_cifar10",
    model="inception_small",
    dataset="cifar10",
    epochs=100,
    batch_size=128,
    learning_rate=0.1,
    schedule="exponential",
    schedule_epochs=(1,),
    schedule_factors=(0.95,),
    momentum=0.9,
    crop="square",
    train_sizes=(32,),
    test_size=32,
    normalisation="per_image",
    paper={"test_accuracy": 0.8931},
)

if __name__ == "__main__":
    zoo.main(recipe)
