"""MobileNet on ImageNet: Howard et al. 2017, section 3.2.

    python recipes/mobilenet_imagenet2012.py

Table 8 reports 70.6 % top-1 validation accuracy. RMSProp as for Inception-v3, without label smoothing, auxiliary heads
and weight decay on the depthwise filters. The paper does not state the rate, the batch size and the number of epochs.
Here they are Inception-v3's rate (0.045, multiplied by 0.94 every 2 epochs) and RMSProp (rho 0.9, momentum 0.9, epsilon
1), TF-Slim's weight decay of 4e-5, batches of 256 and 200 epochs. TensorFlow's RMSProp of that time starts its mean
square at one, Keras's at zero, so that the first steps are larger. Training is synchronous, not asynchronous. Not
trained here.

ImageNet has to be downloaded by hand; the first run prints the address and the folder. `--dataset folder:PATH` trains
on your own pictures.
"""

import zoo

recipe = zoo.ImageRecipe(
    name="mobilenet_imagenet2012",
    model="mobilenet",
    dataset="imagenet2012",
    epochs=200,
    batch_size=256,
    optimizer="rmsprop",
    learning_rate=0.045,
    schedule="exponential",
    schedule_epochs=(2,),
    schedule_factors=(0.94,),
    momentum=0.9,
    rho=0.9,
    epsilon=1.0,
    weight_decay=4e-5,
    decayed_weights=("conv1/kernel", "*_pw/kernel", "fc/kernel"),
    crop="inception",
    test_size=256,
    pixel_mean=(127.5,),
    pixel_std=(127.5,),
    random_flip=True,
    paper={"test_accuracy": 0.706},
)

if __name__ == "__main__":
    zoo.main(recipe)
