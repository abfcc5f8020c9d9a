"""Network in Network on CIFAR-10: Lin, Chen & Yan, ICLR 2014, section 4.2, and the authors' cuda-convnet files.

    python recipes/nin_cifar10.py

The paper reports 10.41 % test error without augmentation. SGD with momentum 0.9, rate 0.1 and batches of 128; biases
have twice the rate of the weights, and the last layer has a tenth of the rates of the others. The rates are divided by
ten at epochs 200 and 230. Images are contrast-normalised and whitened. The rates are in the first author's later
program (purine/purine2, examples/nin_cifar10.cpp); his parameters for SVHN, a rate of 1 and a weight decay of 1e-5 with
a loss that is multiplied by 0.1, equal them. Dropout in the authors' files is a mask of zeros and ones, and units are
multiplied by 0.5 in test. They divide the rates of the weights alone at epochs 200 and 230, here those of the biases
too.

The start is fragile. Activations before the last layer begin at about 0.01, and a ReLU follows it: with a rate of 0.2
its ten biases were between 0 and -0.3 after 75 steps, all class maps were zero, and no weight had a gradient. With the
rate of 0.02, two of four seeds that were tried train, and two still ended there within 450 steps; an accuracy of 10 %
over the second epoch says so, and another `--seed` helps.

Not trained to its end, which is 101,400 steps or about 15 hours of two CPU cores: after 7,800 of them, at the first
rate, the test accuracy was 80.02 % (docs/short-runs.md).
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
    learning_rate_factors={"cccp6/kernel": 0.1, "cccp6/bias": 0.2, "*/bias": 2.0},
    weight_decay=1e-4,
    normalisation="gcn_zca",
    paper={"test_accuracy": 0.8959},
)

if __name__ == "__main__":
    zoo.main(recipe)
