"""mixup and CutMix: the images, the loss, and batches that depend on the seed and the step alone."""

import numpy as np
import pytest
import tensorflow as tf

import zoo
from conftest import image_recipe, prepared, run
from zoo.data.stream import BatchRNG
from zoo.tasks.image_classification.mixing import cutmix, mixup
from zoo.tasks.image_classification.preprocessing import erase

SMALL = {"model": "softmax_regression", "model_args": {"input_shape": (8, 8, 1)}, "batch_size": 32}


def test_mixup_is_a_weighted_mean():
    first, second = np.random.default_rng(0).normal(size=(2, 3, 4, 5, 1)).astype(np.float32)
    share = np.array([0.0, 0.25, 1.0], np.float32)
    images, left = mixup(tf.constant(first), tf.constant(second), tf.constant(share))
    weight = share[:, None, None, None]
    np.testing.assert_allclose(images, weight * first + (1 - weight) * second, rtol=1e-6)
    np.testing.assert_array_equal(left, share)


def test_cutmix_puts_a_box_of_the_second_into_the_first():
    first, second = tf.zeros((3, 8, 12, 2)), tf.ones((3, 8, 12, 2))
    share, centres = tf.constant([0.75, 0.75, 1.0]), tf.constant([[0.5, 0.5], [0.0, 0.99], [0.5, 0.5]])
    images, left = cutmix(first, second, share, centres)
    expected = np.zeros((3, 8, 12))
    expected[0, 2:6, 3:9] = 1  # half of each side, around row 4 and column 6
    expected[1, 0:2, 8:12] = 1  # around row 0 and column 11, cut off
    np.testing.assert_array_equal(images[..., 0], expected)
    np.testing.assert_array_equal(images[..., 1], expected)
    np.testing.assert_allclose(left, 1 - expected.mean((1, 2)), rtol=1e-6)


@pytest.mark.parametrize("concentration", [0.2, 1.0])
def test_shares_have_the_moments_of_a_beta_distribution(concentration):
    drawn = BatchRNG(tf.constant([0, 1], tf.int64), 20_000, tf.range(20_000)).beta(concentration).numpy()
    assert np.mean(drawn) == pytest.approx(0.5, abs=0.01) and 0 <= drawn.min() and drawn.max() <= 1
    assert np.var(drawn) == pytest.approx(1 / (4 * (2 * concentration + 1)), rel=0.03)


@pytest.mark.parametrize("field", ["mixup", "cutmix"])
def test_batches_depend_on_the_step_and_the_row_alone(field):
    task = prepared(image_recipe(**SMALL, **{field: 1.0}, random_shift=1))
    whole = list(task.training_batches(0).take(45))  # past the end of an epoch
    for first, rows in ((1, None), (43, range(8, 20))):
        batch, part = next(iter(task.training_batches(first, rows))), rows or range(32)
        assert set(batch) == {"inputs", "labels", "other_labels", "share"}
        for key, value in batch.items():
            np.testing.assert_array_equal(value, whole[first][key][part.start : part.stop])
    assert np.mean([np.mean(b["labels"] == b["other_labels"]) for b in whole]) < 0.2
    assert len(np.unique(whole[0]["share"])) > 10


def test_shares_are_drawn_from_a_stream_of_their_own():
    recipe = image_recipe(**SMALL, mixup=1.0, seed=5)
    share = next(iter(prepared(recipe).training_batches(7)))["share"]
    for seed in (5, 5 + 2**32):  # those of the two orders, and of what augments the images
        used = BatchRNG(tf.constant([seed, 7], tf.int64), 32, tf.range(32)).beta(1.0)
        assert np.abs(used - share).max() > 0.1


def test_the_loss_is_that_of_both_labels():
    task = prepared(image_recipe(**SMALL, mixup=1.0))
    batch = next(iter(task.training_batches(0)))
    logits = np.random.default_rng(0).normal(size=(32, 10)).astype(np.float32)
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    rows, share = np.arange(32), batch["share"].numpy()
    expected = -np.sum(share * logs[rows, batch["labels"]] + (1 - share) * logs[rows, batch["other_labels"]])
    np.testing.assert_allclose(task.loss(batch, tf.constant(logits))[0], expected, rtol=1e-5)


def test_a_run_trains_with_it_and_it_excludes_others(tmp_path):
    assert (
        run(image_recipe(**SMALL, cutmix=1.0, limit_steps=60), run_dir=tmp_path / "run").metrics["test_accuracy"] > 0.3
    )
    for changes in ({"mixup": 0.2, "cutmix": 1.0}, {"mixup": -1.0}, {"mixup": 1.0, "teacher": "mlp:mnist"}):
        with pytest.raises(zoo.UsageError, match="mixup|cutmix"):
            image_recipe(**changes)


def test_erasing_replaces_a_rectangle_by_noise():
    rng = BatchRNG(tf.constant([3, 4], tf.int64), 4000, tf.range(4000))
    erased = erase(tf.fill((4000, 12, 16, 2), 9.0), rng, 0.75).numpy()
    boxes = (erased != 9).all(-1)
    hit = boxes.any((1, 2))
    assert np.mean(hit) == pytest.approx(0.75, abs=0.03)
    rows, columns = boxes.any(2), boxes.any(1)
    np.testing.assert_array_equal(boxes, rows[:, :, None] & columns[:, None, :])  # rectangles
    for side in (rows, columns):  # in one piece
        assert (np.abs(np.diff(side.astype(int), axis=1, prepend=0, append=0)).sum(1)[hit] == 2).all()
    area = boxes.mean((1, 2))[hit]
    assert 0.01 < area.min() < 0.03 and 0.25 < area.max() < 0.4 and area.mean() == pytest.approx(0.17, abs=0.03)
    assert boxes.mean(0).min() > 0.005  # everywhere
    heights, widths, first = rows.sum(1)[hit], columns.sum(1)[hit], rows.argmax(1)[hit]
    assert abs(np.corrcoef(heights / widths, first / (13 - heights))[0, 1]) < 0.4  # of any shape
    values = erased[boxes]
    assert values.mean() == pytest.approx(0, abs=0.02) and values.std() == pytest.approx(1, abs=0.02)
    part = BatchRNG(rng.seed, 4000, tf.range(7, 9))
    np.testing.assert_array_equal(erase(tf.fill((2, 12, 16, 2), 9.0), part, 0.75), erased[7:9])


def test_erasing_is_a_field_of_recipes():
    plain, erased = (prepared(image_recipe(**SMALL, random_erasing=p)) for p in (0.0, 1.0))
    one, other = (next(iter(task.training_batches(3)))["inputs"].numpy() for task in (plain, erased))
    changed = (one != other).mean((1, 2, 3))
    assert 0 < changed.min() and changed.max() < 0.5
    with pytest.raises(zoo.UsageError, match="random_erasing is 2.0; it must be from 0 to 1"):
        image_recipe(**SMALL, random_erasing=2.0)
