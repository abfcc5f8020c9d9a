"""ResNet-50 on ImageNet: He, Zhang, Ren & Sun, CVPR 2016, section 3.4.

    python recipes/resnet50_imagenet2012.py

Table 3 reports 22.85 % top-1 and 6.71 % top-5 validation error, the mean over ten crops. SGD with batches of 256,
momentum 0.9, weight decay 1e-4, rate 0.1 and 600,000 steps, which are 120 epochs. Shorter sides from 256 to 480, random
crops, horizontal flips, colour noise of 0.1. The paper divides the rate by ten when the error stops falling; here at
epochs 30, 60 and 90, as in fb.resnet.torch. The mean is subtracted per channel, not per pixel, and pixels are divided
by the standard deviation. Not trained here.

ImageNet has to be downloaded by hand; the first run prints the address and the folder. `--dataset folder:PATH` trains
on your own pictures.
"""

import zoo

recipe = zoo.ImageRecipe(
    name="resnet50_imagenet2012",
    model="resnet50",
    dataset="imagenet2012",
    epochs=120,
    batch_size=256,
    learning_rate=0.1,
    schedule="piecewise",
    schedule_epochs=(30, 60, 90),
    schedule_factors=(0.1, 0.01, 0.001),
    momentum=0.9,
    weight_decay=1e-4,
    crop="scale",
    train_sizes=(256, 480),
    test_size=256,
    test_views="ten_crops",
    pixel_mean=(123.68, 116.78, 103.94),
    pixel_std=(58.4, 57.12, 57.38),
    random_flip=True,
    colour_noise=0.1,
    paper={"test_accuracy": 0.7715, "test_top5_accuracy": 0.9329},
)

if __name__ == "__main__":
    zoo.main(recipe)
