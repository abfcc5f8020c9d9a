"""AlexNet on ImageNet: Krizhevsky, Sutskever & Hinton, NIPS 2012.

    python recipes/alexnet_imagenet2012.py

Section 6 reports 18.2 % top-5 and 40.7 % top-1 validation error for one net, the mean over ten crops. SGD, batches of
128, momentum 0.9, weight decay 5e-4, rate 0.01, about 90 epochs; pictures with a shorter side of 256, of whose central
square random windows of 224 × 224 and their mirror images are taken; colour noise of 0.1. The paper divides the rate by
ten three times, whenever the validation error stalls; here that is at epochs 20, 40 and 60, as in BVLC's Caffe model.
The mean is subtracted channel by channel, not pixel by pixel. Not trained here.

ImageNet has to be downloaded by hand; the first start says where from and where to. `--dataset folder:PATH` trains on
pictures of your own.
"""

import zoo

recipe = zoo.ImageRecipe(
    name="alexnet_imagenet2012",
    model="alexnet_two_tower",
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
