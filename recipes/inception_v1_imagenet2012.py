"""GoogLeNet on ImageNet: Szegedy et al., CVPR 2015.

    python recipes/inception_v1_imagenet2012.py

The paper reports 10.07 % top-5 validation error for one model and one crop. SGD with momentum 0.9, the rate multiplied
by 0.96 every 8 epochs, a moving average of the weights, auxiliary heads whose losses have the weight 0.3, random crops
of 8 to 100 % of the picture. The paper does not state the first rate, the batch size, the weight decay and the number
of steps; here they are those of BVLC's Caffe model (0.01 and twice that for biases, 32, 2e-4, and 10 million steps of
32, which are 250 epochs). The photometric distortions are left out, because the paper does not specify them. Training
is synchronous, not asynchronous. Not trained here.

ImageNet has to be downloaded by hand; the first run prints the address and the folder. `--dataset folder:PATH` trains
on your own pictures.
"""

import zoo

recipe = zoo.ImageRecipe(
    name="inception_v1_imagenet2012",
    model="inception_v1",
    model_args={"aux_heads": True},
    dataset="imagenet2012",
    epochs=250,
    batch_size=32,
    learning_rate=0.01,
    schedule="exponential",
    schedule_epochs=(8,),
    schedule_factors=(0.96,),
    momentum=0.9,
    learning_rate_factors={"*/bias": 2.0},
    weight_decay=2e-4,
    keep="average",
    average_momentum=0.9999,
    aux_weight=0.3,
    crop="inception",
    test_size=256,
    pixel_mean=(123.0, 117.0, 104.0),
    pixel_std=(1.0,),
    random_flip=True,
    paper={"test_top5_accuracy": 0.8993},
)

if __name__ == "__main__":
    zoo.main(recipe)
