"""All-CNN-C on CIFAR-10 with augmentation: Springenberg, Dosovitskiy, Brox & Riedmiller, ICLR 2015 workshop.

    python recipes/all_cnn_c_cifar10.py

The paper reports 7.25 % test error with this augmentation (horizontal flips and shifts of up to 5 pixels) and 9.08 %
without (`--no-random-flip --random-shift 0`). SGD with momentum 0.9 for 350 epochs, the rate divided by ten at epochs
200, 250 and 300, weight decay 0.001, dropout on the input and after each reduction, images contrast-normalised and
whitened. The paper selects the best rate of 0.25, 0.1, 0.05 and 0.01 for each model, and states neither the batch size
nor the initialisation; here both are those of Nervana's neon, and nothing else is. The rate is 0.01: with the 0.05
of neon, whose dropout does not divide by the keep probability in training, the training accuracy was 65 % until epoch
200 and 75 % in the end (test 73.2 %, float32), with 0.01 it is 93 % in the end. The test accuracy is then 2.4 points
below the paper's; `all_cnn_c_cifar10_fast` is closer. A reproduction in Caffe, without augmentation
(github.com/mateuszbuda/ALL-CNN), trains with 0.05 and batches of 256 from Caffe's "xavier" start, calls the training
unstable, and reports 90.25 % where the paper has 90.92 %; these settings have not been tried here.

136,500 steps take about 20 hours of two CPU cores; the result is of a GPU.
"""

import zoo

recipe = zoo.ImageRecipe(
    name="all_cnn_c_cifar10",
    model="all_cnn_c",
    dataset="cifar10",
    epochs=350,
    batch_size=128,
    learning_rate=0.01,
    schedule="piecewise",
    schedule_epochs=(200, 250, 300),
    schedule_factors=(0.1, 0.01, 0.001),
    momentum=0.9,
    weight_decay=1e-3,
    normalisation="gcn_zca",
    random_shift=5,
    random_flip=True,
    paper={"test_accuracy": 0.9275},
)

if __name__ == "__main__":
    zoo.main(recipe)
