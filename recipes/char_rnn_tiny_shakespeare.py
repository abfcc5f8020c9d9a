"""char-rnn on tiny Shakespeare with its own defaults (Karpathy 2015, karpathy/char-rnn, train.lua).

    python recipes/char_rnn_tiny_shakespeare.py

Nothing is published for these settings. RMSProp with alpha 0.95 and rate 2e-3, times 0.97 after each epoch from the
tenth on; 50 epochs of 50 streams in steps of 50 characters; the loss is summed over time and every number of a gradient
is held between -5 and 5. The last 5 % of every stream are for validation (`--split` chooses other cuts, each with a
training run of its own). Torch adds RMSProp's epsilon, 1e-8, outside the root, Keras inside, where its square makes the
same of it for all but the smallest gradients; and one symbol more stands for characters that training never saw.
Measured, one run: 1.415 nats a character at the end; 1.381 on the way, after which it learns the text by heart.
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
