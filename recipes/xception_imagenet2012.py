"""Xception on ImageNet: Chollet, CVPR 2017, section 4.

    python recipes/xception_imagenet2012.py

Table 1 reports 79.0 % top-1 and 94.5 % top-5 validation accuracy for one crop. SGD with momentum 0.9, the rate 0.045
multiplied by 0.94 every 2 epochs, weight decay 1e-5, dropout 0.5, a moving average of the weights. The paper does not
state batch size, number of epochs and augmentation; here they are 256, 100, and random crops as for the Inception
models. Not trained here.

ImageNet has to be downloaded by hand; the first run prints the address and the folder. `--dataset folder:PATH` trains
on your own pictures.
"""

import zoo

recipe = zoo.ImageRecipe(
    name="xception_imagenet2012",
    model="xception",
    dataset="imagenet2012",
    epochs=100,
    batch_size=256,
    learning_rate=0.045,
    schedule="exponential",
    schedule_epochs=(2,),
    schedule_factors=(0.94,),
    momentum=0.9,
    weight_decay=1e-5,
    keep="average",
    average_momentum=0.9999,
    crop="inception",
    test_size=342,  # the central 87.5 %, as for Inception-v3
    pixel_mean=(127.5,),
    pixel_std=(127.5,),
    random_flip=True,
    paper={"test_accuracy": 0.790, "test_top5_accuracy": 0.945},
)

if __name__ == "__main__":
    zoo.main(recipe)
