"""char-rnn on tiny Shakespeare with its own defaults (Karpathy 2015, karpathy/char-rnn, train.lua).

    python recipes/char_rnn_tiny_shakespeare.py

Nothing is published for these settings. RMSProp with alpha 0.95 and rate 2e-3, multiplied by 0.97 after each epoch from
the tenth on; 50 epochs with 50 streams in steps of 50 characters; the loss is summed over time and gradient elements
are clipped to ±5. The last 5 % of every stream are for validation (`--split` selects other splits, which need a run of
their own).

Differences: Torch adds RMSProp's epsilon, 1e-8, outside the square root. Keras adds it inside, where the square of 1e-8
has the same effect except for the smallest gradients. char-rnn has two biases for each gate, which doubles the steps of
their sum; here there is one. One more symbol stands for characters that are not in the training split. Measured, three
runs: 1.416 nats per character at the end; the best during the first of them was 1.381, after which the model overfits.
"""

import zoo

recipe = zoo.LanguageModelRecipe(
    name="char_rnn_tiny_shakespeare",
    model="char_rnn",
    dataset="tiny_shakespeare",
    split="char_rnn",
    epochs=50,
    batch_size=50,
    sequence_length=50,
    optimizer="rmsprop",
    learning_rate=2e-3,
    schedule="piecewise",
    schedule_epochs=tuple(range(10, 50)),
    schedule_factors=tuple(0.97**n for n in range(1, 41)),
    rho=0.95,
    epsilon=1e-16,
    clip_value=5.0,
    sum_over_time=True,
)

if __name__ == "__main__":
    zoo.main(recipe)
