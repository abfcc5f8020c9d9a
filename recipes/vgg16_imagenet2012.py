"""VGG-16 on ImageNet: Simonyan & Zisserman, ICLR 2015, net D.

    python recipes/vgg16_imagenet2012.py

Table 3 reports 25.6 % top-1 and 8.1 % top-5 validation error for model D, trained on shorter sides from 256 to 512 and
applied densely to whole pictures with a shorter side of 384. SGD with batches of 256, momentum 0.9, weight decay 5e-4,
rate 0.01 and 370,000 steps; random crops, horizontal flips, colour noise of 0.1. The paper divides the rate by ten
three times, each time when the validation accuracy stops rising; here at epochs 20, 40 and 60. It initialises D from
smaller trained models; here the initialisation is Glorot's, which section 3.1 found to be sufficient. Not trained here.

ImageNet has to be downloaded by hand; the first run prints the address and the folder. `--dataset folder:PATH` trains
on your own pictures.
"""

import zoo

recipe = zoo.ImageRecipe(
    name="vgg16_imagenet2012",
    model="vgg16",
    dataset="imagenet2012",
    epochs=74,
    limit_steps=370_000,
    batch_size=256,
    learning_rate=0.01,
    schedule="piecewise",
    schedule_epochs=(20, 40, 60),
    schedule_factors=(0.1, 0.01, 0.001),
    momentum=0.9,
    weight_decay=5e-4,
    crop="scale",
    train_sizes=(256, 512),
    test_size=384,
    test_views="dense",
    pixel_mean=(123.68, 116.78, 103.94),
    pixel_std=(1.0,),
    random_flip=True,
    colour_noise=0.1,
    paper={"test_accuracy": 0.744, "test_top5_accuracy": 0.919},
)

if __name__ == "__main__":
    zoo.main(recipe)
