"""airbench94 on CIFAR-10 in 12 epochs instead of 9.9.

    python recipes/airbench94_cifar10_long.py

Ours: nothing is published for these settings. Over seeds 0, 1 and 2 they gave 94.32 % on a CPU, each run in 22 minutes
of one core of an AMD EPYC with AVX-512 BF16. Those of the paper, in `airbench94_cifar10`, gave 93.98 % there; the paper
reports 94.01 %. The rate still rises over 23 % of the steps.
"""

import zoo

recipe = zoo.ImageRecipe(
    name="airbench94_cifar10_long",
    model="airbench94",
    dataset="cifar10",
    precision="auto",
    epochs=12,
    batch_size=1024,
    learning_rate=11.5 / (1 + 1 / (1 - 0.85)),
    schedule="linear",
    schedule_epochs=(0.0, 0.23 * 12, 12.0),
    schedule_factors=(0.2, 1.0, 0.07),
    momentum=0.85,
    nesterov=True,
    learning_rate_factors={"*_norm?/beta": 64.0},
    weight_decay=0.0153 / 11.5,
    decayed_weights=("*",),
    weight_decay_factors={"*_norm?/beta": 1 / 64},
    frozen_after={"whiten/bias": 3},
    lookahead_steps=5,
    lookahead_decay=0.95**5,
    lookahead_power=3.0,
    label_smoothing=0.2,
    pixel_mean=(125.307, 122.961, 113.8575),
    pixel_std=(62.985, 62.0925, 66.708),
    random_shift=2,
    shift_fill="reflect",
    random_flip=True,
    alternating_flip=True,
    adapt_images=5000,
    test_views="mirror_shift",
    paper={"test_accuracy": 0.9401},
)

if __name__ == "__main__":
    zoo.main(recipe)
