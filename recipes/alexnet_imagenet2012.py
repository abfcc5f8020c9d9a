"""AlexNet on ImageNet: Krizhevsky, Sutskever & Hinton, NIPS 2012.

    python recipes/alexnet_imagenet2012.py

Section 6 reports 18.2 % top-5 and 40.7 % top-1 validation error for one model, the mean over ten crops. SGD with
batches of 128, momentum 0.9, weight decay 5e-4, learning rate 0.01 and about 90 epochs. Pictures are resized to a
shorter side of 256; random crops of 224 × 224 from the central square are used with random horizontal flips and colour
noise of 0.1. Dropout is a mask of zeros and ones, and units are multiplied by 0.5 in test (section 4.2). The paper
divides the rate by ten three times, each time when the validation error stops falling; here the rate changes at epochs
20, 40 and 60, as in BVLC's Caffe model. The mean is subtracted per channel, not per pixel. Not trained here.

ImageNet has to be downloaded by hand; the first run prints the address and the folder. `--dataset folder:PATH` trains
on your own pictures.
"""

import zoo

recipe = zoo.ImageRecipe(
    name="alexnet_imagenet2012",
    model="alexnet_two_tower",
    model_args={"binary_dropout": True},
    dataset="imagenet2012",
    epochs=90,
    batch_size=128,
    learning_rate=0.01,
    schedule="piecewise",
    schedule_epochs=(20, 40, 60),
    schedule_factors=(0.1, 0.01, 0.001),
    momentum=0.9,
    weight_decay=5e-4,
    crop="square",
    train_sizes=(256,),
    test_size=256,
    test_views="ten_crops",
    pixel_mean=(123.68, 116.78, 103.94),
    pixel_std=(1.0,),
    random_flip=True,
    colour_noise=0.1,
    paper={"test_accuracy": 0.593, "test_top5_accuracy": 0.818},
)

if __name__ == "__main__":
    zoo.main(recipe)
