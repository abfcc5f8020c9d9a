"""A BiLSTM over words and characters on movie reviews (IMDB): positive or negative?

    python recipes/bilstm_classifier_imdb_reviews.py

Ours: 25,000 reviews for training and 25,000 for testing (Maas et al., ACL 2011). The classifier of Maas et al., with
word vectors learned from 50,000 more reviews, reaches 88.89 %. Not measured yet.
"""

import zoo

recipe = zoo.TextClassificationRecipe(
    name="bilstm_classifier_imdb_reviews",
    model="bilstm_classifier",
    model_args={"character_embedding": 32, "character_units": 32, "word_embedding": 100, "drop_rate": 0.5},
    dataset="imdb_reviews",
    validation_examples=2500,
    lower_case=True,
    min_count=3,
    word_dropout=0.25,
    max_length=400,
    epochs=6,
    batch_size=32,
    optimizer="adam",
    learning_rate=0.002,
    schedule="cosine",
    warmup_epochs=0.5,
    clip_norm=1.0,
    keep="best",
    steps_per_execution=10,
    paper={"test_accuracy": 0.8889},
)

if __name__ == "__main__":
    zoo.main(recipe)
