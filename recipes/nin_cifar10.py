"""Network in Network on CIFAR-10: Lin, Chen & Yan, ICLR 2014, section 4.2, and the authors' cuda-convnet files.

    python recipes/nin_cifar10.py

The paper reports 10.41 % test error without augmentation. SGD with momentum 0.9 and rate 0.1; biases have twice that
rate and the weights of the last layer a tenth; the rates are divided by ten at epochs 200 and 230. Images are
contrast-normalised and whitened. The authors' files multiply the loss by 0.1 with a rate of 1 and a weight decay of
1e-5, which equals a rate of 0.1 and a weight decay of 1e-4. Their dropout is a mask of zeros and ones, and units are
multiplied by 0.5 in test. They do not state the batch size; here it is 128, as in cuda-convnet. They divide the rates
of the weights alone at epochs 200 and 230, which for the biases is not done here.

Not trained to its end, and at chance where it was stopped: it has been run for 3,900 of its 101,400 steps, which take
about 15 hours of two CPU cores. With Keras's dropout, which multiplies by 2 in training, it was at chance after 15,990
steps on a GPU. What the authors' training has that this one lacks is not known; use `nin_cifar10_fast`.
"""

import zoo

recipe = zoo.ImageRecipe(
    name="nin_cifar10",
    model="nin_cifar",
    model_args={"binary_dropout": True},
    dataset="cifar10",
    epochs=260,
    batch_size=128,
    learning_rate=0.1,
    schedule="piecewise",
    schedule_epochs=(200, 230),
    schedule_factors=(0.1, 0.01),
    momentum=0.9,
    learning_rate_factors={"cccp6/kernel": 0.1, "*/bias": 2.0},
    weight_decay=1e-4,
    normalisation="gcn_zca",
    paper={"test_accuracy": 0.8959},
)

if __name__ == "__main__":
    zoo.main(recipe)
