"""LeNet-5 on MNIST with the settings of LeCun, Bottou, Bengio and Haffner 1998, section III.

    python recipes/lenet5_mnist.py

Paper: 0.95 % test error after 20 passes without distortions (section III-B). Online learning, one example a step, with
the stochastic diagonal Levenberg-Marquardt rule: each weight's rate is η/(μ + h), h estimated before each pass on 500
examples, μ = 0.02. All 60,000 training examples are used; the weights after the last pass count.

Differences from the paper: it leaves the constant j of equation 9 open, here 10 (`zoo/tasks/classification.py`).
"""

import zoo

recipe = zoo.ImageRecipe(
    name="lenet5_mnist",
    model="lenet5",
    dataset="mnist",
    epochs=20,
    batch_size=1,
    optimizer="diagonal_lm",
    learning_rate=0.0005,  # for two passes, then 0.0002 for three, 0.0001 for three, 0.00005 for four, 0.00001
    schedule="piecewise",
    schedule_epochs=(2, 5, 8, 12),
    schedule_factors=(0.4, 0.2, 0.1, 0.02),
    loss="rbf_map",
    pad=2,
    pixel_mean=(20.0,),  # black becomes −0.1 and white 1.175
    pixel_std=(200.0,),
    jit_compile=True,  # one example at a time, a compiled step takes a third of the time even on a CPU
    steps_per_execution=1000,
    paper={"test_accuracy": 0.9905},
)

if __name__ == "__main__":
    zoo.main(recipe)
