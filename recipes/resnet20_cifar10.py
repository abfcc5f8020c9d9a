"""ResNet-20 on CIFAR-10 as published: He, Zhang, Ren & Sun, CVPR 2016, section 4.2.

    python recipes/resnet20_cifar10.py

Table 6 reports 8.75 % test error. SGD with momentum 0.9, weight decay 1e-4 and batches of 128. The rate is 0.1, 0.01
from step 32,000 and 0.001 from step 48,000; training ends at step 64,000. The mean image is subtracted. Images are
padded by 4; random crops and horizontal flips are used in training, a single view in testing. All 50,000 training
images are used, as in the paper after it selected the schedule on 45,000 of them. Biases and batch normalisation have
no weight decay; the paper does not mention them.
"""

import zoo

recipe = zoo.ImageRecipe(
    name="resnet20_cifar10",
    model="resnet20",
    dataset="cifar10",
    epochs=165,
    limit_steps=64_000,
    batch_size=128,
    learning_rate=0.1,
    schedule="piecewise",
    schedule_epochs=(32_000 / 390, 48_000 / 390),  # 390 full batches of 128 an epoch
    schedule_factors=(0.1, 0.01),
    momentum=0.9,
    weight_decay=1e-4,
    normalisation="mean_image",
    pixel_std=(1.0,),
    random_shift=4,
    random_flip=True,
    paper={"test_accuracy": 0.9125},
)

if __name__ == "__main__":
    zoo.main(recipe)
