"""Folders of images: splits, hidden files, links, formats, names, copies, errors and warnings."""

import os
import re
import shutil
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from conftest import ROOT
from zoo.data import file_hashes, views
from zoo.data.decoding import MAX_PIXELS, SUFFIXES
from zoo.data.images import load_images
from zoo.data.stream import EpochShuffle
from zoo.data.views import whole
from zoo.errors import UsageError, ZooError, inner_error


def picture(kind, number, size=(12, 12)):
    """A grey picture, dark or light, different for each number."""
    rng = np.random.default_rng([kind, number])
    return Image.fromarray(rng.integers(150 * (kind % 2), 150 * (kind % 2) + 100, (*size, 3), dtype=np.uint8))


def fill(folder, kind, count, suffix=".png", first=0):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        picture(kind, number).save(folder / f"{number:03}{suffix}")


def classes(root, count=10, names=("cat", "dog"), first=0):
    for kind, name in enumerate(names):
        fill(root / name, kind, count, first=first)
    return root


def load(root, **options):
    return load_images(f"folder:{root}", whole((8, 8, 3)), **options)


def sizes(data):
    return {split: len(part) for split, part in data.present.items()}


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (("train", "val"), {"train": 20, "validation": 8}),
        (("Train", "Valid"), {"train": 20, "validation": 8}),
        (("TRAINING", "dev"), {"train": 20, "validation": 8}),
        (("train", "validation"), {"train": 20, "validation": 8}),
        (("Train", "Test"), {"train": 20, "test": 8}),
        (("training_set", "test_set"), {"train": 20, "test": 8}),
        (("train-data", "testing"), {"train": 20, "test": 8}),
        (("train2017", "val2017"), {"train": 20, "validation": 8}),
    ],
)
def test_usual_names_of_splits_are_splits(tmp_path, folders, expected):
    classes(tmp_path / folders[0], 10)
    classes(tmp_path / folders[1], 4, first=50)
    data = load(tmp_path)
    assert sizes(data) == expected and data.classes == ("cat", "dog")
    for split, folder in zip(expected, folders, strict=True):
        assert f"{split} is {folder}" in data.found
    assert f"cat: 10 train, 4 {list(expected)[1]}" in data.found


def test_three_splits_are_all_used(tmp_path):
    for number, (folder, count) in enumerate((("train", 10), ("val", 5), ("test", 3))):
        classes(tmp_path / folder, count, first=100 * number)
    data = load(tmp_path, validation_examples=4)
    assert sizes(data) == {"train": 20, "validation": 10, "test": 6}


def test_an_empty_split_is_an_error(tmp_path):
    classes(tmp_path / "train", 10)
    classes(tmp_path / "test", 10, first=50)
    (tmp_path / "val" / "cat").mkdir(parents=True)
    data = load(tmp_path)
    assert sizes(data) == {"train": 20, "test": 20} and data.warnings == ("val has no images, and is not used",)


def test_a_training_folder_alone_is_cut(tmp_path):
    data = load(classes(tmp_path / "train", 20).parent)
    assert sizes(data) == {"train": 32, "validation": 4, "test": 4} and "train is train" in data.found


def test_splits_within_a_folder_of_their_own_name(tmp_path):
    classes(tmp_path / "training_set" / "training_set", 10)
    classes(tmp_path / "test_set" / "test_set", 4, first=50)
    assert sizes(load(tmp_path)) == {"train": 20, "test": 8}


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        (("train", "val", "valid"), "'val' and 'valid' both look like the validation split"),
        (("train", "Training"), "'Training' and 'train' both look like the train split"),
        (("val", "test"), "look like splits, but there is none for training"),
    ],
)
def test_ambiguous_splits_are_refused(tmp_path, folders, said):
    for number, folder in enumerate(folders):
        classes(tmp_path / folder, 4, first=100 * number)
    with pytest.raises(ZooError, match=said):
        load(tmp_path)


def test_splits_beside_classes_are_refused(tmp_path):
    classes(tmp_path / "train", 5)
    classes(tmp_path / "test", 5)
    fill(tmp_path / "owl", 1, 5)
    with pytest.raises(ZooError, match="beside test and train, which look like splits, images are in owl"):
        load(tmp_path)
    classes(tmp_path / "other" / "train", 5)
    classes(tmp_path / "other" / "eval", 5, first=10)
    with pytest.raises(ZooError, match="beside train, which looks like a split, images are in eval; .*train, val and"):
        load(tmp_path / "other")


def test_splits_without_classes_are_named(tmp_path):
    fill(tmp_path / "train", 0, 5)
    fill(tmp_path / "test", 1, 5)
    with pytest.raises(ZooError, match="test and train have images but no class folders"):
        load(tmp_path)
    shutil.rmtree(tmp_path / "train")
    classes(tmp_path / "train", 5)
    data = load(tmp_path, validation_examples=2)
    assert sizes(data)["train"] < 10 and "test has images but no class folders, and is not used" in data.warnings


def test_a_class_may_be_called_train(tmp_path):
    data = load(classes(tmp_path, 10, names=("bus", "car", "train")))
    assert data.classes == ("bus", "car", "train")
    assert "train: read as a class, because images lie in the folder itself" in data.warnings


def test_a_class_that_train_lacks_is_named(tmp_path):
    classes(tmp_path / "train", 5)
    classes(tmp_path / "test", 5, names=("cat", "owl"))
    with pytest.raises(ZooError, match="test has the class 'owl', which train has not"):
        load(tmp_path)


@pytest.mark.parametrize("name", [".ipynb_checkpoints", "__MACOSX", "@eaDir", "$RECYCLE.BIN", "lost+found"])
def test_hidden_and_system_folders_are_left_out(tmp_path, name):
    classes(tmp_path, 10)
    plain = load(tmp_path)
    fill(tmp_path / name, 0, 5)
    fill(tmp_path / name / "cat", 0, 5)
    fill(tmp_path / "cat" / name, 0, 10)
    for file in ("._000.png", "Thumbs.db", "desktop.ini", ".DS_Store"):
        (tmp_path / "cat" / file).write_bytes(b"\0\5\x16\7")
        (tmp_path / file).write_bytes(b"\0\5\x16\7")
    data = load(tmp_path)
    assert data.classes == ("cat", "dog") and data.found == plain.found and not data.warnings
    np.testing.assert_array_equal(data.test.pictures, plain.test.pictures)
    assert data.fingerprint == plain.fingerprint


def test_other_files_are_named_with_their_numbers(tmp_path):
    classes(tmp_path, 10)
    for name in ("a.heic", "b.HEIC", "notes.txt", "README"):
        (tmp_path / "cat" / name).write_text("x")
    (tmp_path / "owl").mkdir()
    for number in range(3):
        (tmp_path / "owl" / f"{number}.heic").write_text("x")
    (tmp_path / "labels.csv").write_text("x")
    picture(0, 0).save(tmp_path / "loose.png")
    data = load(tmp_path)
    assert "cat: not read: 1 without a suffix, 2 .heic, 1 .txt" in data.found
    assert "beside the folders, not read: 1 .csv" in data.found
    assert "not read: 1 image beside the folders, which have no class" in data.found
    assert "the folder owl has no images (3 .heic) and is left out" in data.warnings


@pytest.mark.parametrize("suffix", [".webp", ".bmp", ".gif", ".tif", ".TIFF", ".JPG", ".jfif", ".jpeg"])
@pytest.mark.parametrize("cache_limit", [10**9, 1])
def test_every_usual_format_is_read(tmp_path, suffix, cache_limit):
    fill(tmp_path / "light", 1, 6)
    (tmp_path / "dark").mkdir()
    for number in range(6):
        kind = {".jpg": "JPEG", ".jfif": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF"}.get(
            suffix.lower(), suffix[1:].upper()
        )
        picture(0, number).save(tmp_path / "dark" / f"{number}{suffix}", format=kind)
    data = load(tmp_path, cache_limit=cache_limit)
    assert sizes(data) == {"train": 8, "validation": 2, "test": 2}
    images, labels = next(iter(data.train.batches(8)))
    np.testing.assert_array_equal(images.numpy().mean(axis=(1, 2, 3)) > 125, labels)


def test_a_wrong_suffix_changes_nothing(tmp_path):
    classes(tmp_path, 10)
    for number, kind in enumerate(("WEBP", "BMP", "GIF", "TIFF", "PNG")):
        picture(0, 90 + number).save(tmp_path / "cat" / f"is_{kind}.jpg", format=kind)
    assert sum(sizes(load(tmp_path)).values()) == 25


def test_links_are_followed_without_loops(tmp_path):
    root, other = tmp_path / "root", tmp_path / "other"
    classes(root, 10)
    fill(other / "more", 1, 5, first=70)
    fill(other / "owl", 1, 8, first=200)
    os.symlink(other / "owl", root / "owl")
    os.symlink(other / "more", root / "dog" / "more")
    os.symlink(other / "more" / "070.png", root / "cat" / "link.png")
    os.symlink(root, root / "dog" / "all")
    os.symlink(root / "dog", root / "dog" / "again")
    os.symlink("/nowhere/x.png", root / "dog" / "broken.png")
    data = load(root)
    counts = np.bincount(np.concatenate([part.labels for part in data.present.values()]))
    assert data.classes == ("cat", "dog", "owl") and counts.tolist() == [11, 15, 8]
    assert "dog: links that are broken or lead in a circle" in data.found and "and 2 more" in data.found


def test_file_names_are_literal_and_may_be_any_bytes(tmp_path):
    root = tmp_path / "a[1]*?{b}\\"
    names = ("[x]", "a*b", "a\\b", "$0_$25", "line\nbreak", "日本語")
    for kind, name in enumerate(names):
        fill(root / name, kind % 2, 6, first=10 * kind)
    os.rename(root / "[x]" / "000.png", os.path.join(os.fsencode(root / "[x]"), b"caf\xe9.png"))
    os.rename(root / "a*b", os.path.join(os.fsencode(root), b"caf\xe9"))
    for cache_limit in (10**9, 1):
        data = load(root, cache_limit=cache_limit)
        assert set(data.classes) == {"[x]", "café", "a\\b", "$0_$25", "line\nbreak", "日本語"}
        assert sum(len(images) for images, _ in data.train.batches(7)) == len(data.train) == 24
        data.description.encode()
    assert "line\\nbreak: 4 train" in data.found


def test_a_damaged_file_with_an_odd_name_is_named(tmp_path):
    classes(tmp_path, 10)
    (tmp_path / "cat" / "000.png").write_bytes(b"no picture")
    os.rename(tmp_path / "cat" / "000.png", os.path.join(os.fsencode(tmp_path / "cat"), b"caf\xe9.png"))
    with pytest.raises(ZooError, match=r"cat/caf\\xe9\.png cannot be decoded: it is not an image that can be read"):
        load(tmp_path)


@pytest.mark.parametrize(("suffix", "kind"), [(".png", "PNG"), (".jpg", "JPEG")])
def test_a_damaged_file_of_a_set_that_is_streamed_is_named(tmp_path, suffix, kind):
    for number, name in enumerate(("cat", "dog")):
        fill(tmp_path / name, number, 10, suffix)
    path = tmp_path / "cat" / f"003{suffix}"
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    data = load(tmp_path, cache_limit=1, evaluation=True)
    with pytest.raises(tf.errors.OpError) as caught:
        list(data.test.batches(4))
    assert str(inner_error(caught.value)).endswith(
        f"cat/003{suffix} cannot be decoded: it is a {kind} image that is damaged or cut off"
    )
    assert inner_error(ValueError("something else")) is None


def test_names_that_differ_in_case_are_said(tmp_path):
    classes(tmp_path, 10, ("Cat", "cat", "dog"))
    assert "the classes 'Cat' and 'cat' differ in case or spacing only" in load(tmp_path).warnings


def test_composed_and_decomposed_names_are_equal(tmp_path):
    data = load(classes(tmp_path / "train", 10, names=("cafe\u0301", "the\u0301")))
    assert data.classes == ("caf\u00e9", "th\u00e9")
    fill(tmp_path / "train" / "caf\u00e9", 1, 5)
    with pytest.raises(ZooError, match="two folders have the name 'café'"):
        load(tmp_path / "train")


def test_one_level_too_high_is_recognised(tmp_path):
    classes(tmp_path / "a" / "dataset", 5)
    with pytest.raises(ZooError, match="one level too high.*dataset has the folders cat, dog; use folder:.*a/dataset"):
        load(tmp_path / "a")
    classes(tmp_path / "b" / "data" / "train", 5)
    classes(tmp_path / "b" / "data" / "val", 5)
    fill(tmp_path / "b" / "docs", 1, 5)
    with pytest.raises(ZooError, match="one level too high.*data has the folders train, val"):
        load(tmp_path / "b")
    for name in ("first", "second"):
        classes(tmp_path / "c" / name, 5)
    with pytest.raises(ZooError, match="each of its folders .first, second. has the same folders.*folder:.*c/first"):
        load(tmp_path / "c")
    fill(tmp_path / "c" / "second" / "owl", 1, 5)  # as in train2 and val2, of which one has a class more
    with pytest.raises(ZooError, match="each of its folders .first, second. has the same folders in it .cat, dog."):
        load(tmp_path / "c")
    for name in ("seg_train", "seg_test"):  # as an archive has it that holds a folder of its own name
        classes(tmp_path / "e" / name / name, 5)
    with pytest.raises(
        ZooError, match="seg_test, seg_train. has the same folders in it .cat, dog.*e/seg_test/seg_test"
    ):
        load(tmp_path / "e")
    for name in ("cat", "dog"):  # not too high: the names below are those of parts of each class
        fill(tmp_path / "f" / name / name / "left", 1, 5)
        fill(tmp_path / "f" / name / "more" / "left", 1, 5)
    assert load(tmp_path / "f").classes == ("cat", "dog")
    classes(tmp_path / "d" / "photos", 5)
    fill(tmp_path / "d" / "docs", 1, 5)
    data = load(tmp_path / "d")
    assert "photos has no images of its own but 2 folders of images (cat, dog); if those are the classes" in str(
        data.warnings
    )


def test_identical_files_are_in_one_split(tmp_path):
    classes(tmp_path, 20)
    for number in range(20):
        shutil.copy(tmp_path / "cat" / f"{number:03}.png", tmp_path / "cat" / f"copy{number:03}.png")
    data = load(tmp_path)
    contents = {split: {bytes(image) for image in part.pictures} for split, part in data.present.items()}
    assert not contents["train"] & contents["test"] and not contents["train"] & contents["validation"]
    assert len(data.test) == 4 + 2 and "20 files are copies of others" in data.found and not data.warnings


def test_photographs_are_streamed_as_they_are_decoded(tmp_path):
    for kind, name in enumerate(("dark", "light")):
        (tmp_path / name).mkdir()
        for number in range(40):
            picture(kind, number, (60, 50)).resize((500, 375)).save(tmp_path / name / f"{number:02}.jpg")
    view = views.central_square(64, 3)
    held, streamed = (load_images(f"folder:{tmp_path}", view, cache_limit=limit) for limit in (10**9, 1))
    for ours, theirs in zip(streamed.train.batches(50), held.train.batches(50), strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])
    order = EpochShuffle(len(held.train), 16, seed=1)
    ours, theirs = (data.train.training_batches(order, 3, lambda images, rng: images) for data in (streamed, held))
    for one, other in zip(ours.take(12), theirs.take(12), strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def test_the_documentation_names_what_is_read():
    text = (ROOT / "docs" / "data-formats.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\.(?:png|jp\w+|jfif|webp|bmp|gif|tiff?)\b", text)) == SUFFIXES | {".webp", ".jpg", ".png"}
    assert f"at most {MAX_PIXELS:,} pixels" in text and f"more than {views.MAX_ASPECT} times as long" in text
    assert f"more than {file_hashes.MAX_FILES:,} files" in text


def test_the_cut_depends_on_the_images_alone(tmp_path):
    """An image stays in its split whatever the seed, the name of the folder and the images that are added."""

    def split_of(root, **options):
        data = load(root, **options)
        return {picture.tobytes(): split for split, part in data.present.items() for picture in part.pictures}

    classes(tmp_path / "a", 100)
    before = split_of(tmp_path / "a", seed=3)
    counts = Counter(before.values())
    assert 10 <= counts["test"] <= 30 and 10 <= counts["validation"] <= 30 and sum(counts.values()) == 200
    (tmp_path / "a").rename(tmp_path / "b")
    classes(tmp_path / "b", 50, first=500)
    after = split_of(tmp_path / "b", seed=4)
    assert len(after) == 300 and {picture: after[picture] for picture in before} == before
    classes(tmp_path / "small", 30)
    assert sizes(load(tmp_path / "small")) == {"train": 48, "validation": 6, "test": 6}
    assert split_of(tmp_path / "small", seed=1) == split_of(tmp_path / "small", seed=2)


def test_the_folders_of_runs_are_no_classes(tmp_path):
    classes(tmp_path, 20)
    before = load(tmp_path)
    fill(tmp_path / "runs" / "lenet5" / "seed0", 0, 2)
    for name in ("recipe.json", "environment.json"):
        (tmp_path / "runs" / "lenet5" / "seed0" / name).write_text("{}")
    fill(tmp_path / "out", 0, 2)
    for name in ("recipe.json", "environment.json"):
        (tmp_path / "out" / name).write_text("{}")
    after = load(tmp_path)
    assert after.classes == before.classes and after.fingerprint == before.fingerprint


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    classes(tmp_path, 4)
    scandir = os.scandir

    def denied(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(ZooError, match="dog cannot be read: Permission denied"):
        load(tmp_path)


def test_the_home_folder_may_be_a_tilde(tmp_path, monkeypatch):
    classes(tmp_path / "pictures")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert sizes(load("~/pictures")) == sizes(load(tmp_path / "pictures"))


def test_warnings_name_copies_across_splits_and_rare_classes(tmp_path):
    classes(tmp_path / "train", 30)
    classes(tmp_path / "test", 4, first=90)
    for number in range(3):
        shutil.copy(tmp_path / "train" / "cat" / f"{number:03}.png", tmp_path / "test" / "cat" / f"copy{number}.png")
    fill(tmp_path / "train" / "owl", 1, 1, first=500)
    warnings = "\n".join(load(tmp_path).warnings)
    assert "3 of 11 test images are in the training split, too, for example" in warnings
    assert "owl has fewer than two training examples" in warnings
    assert "30 training examples of cat, 1 of owl; always answering the first is right for 49%" in warnings
    assert "the test split has no example of owl" in warnings
    classes(tmp_path / "val", 4, first=90)
    assert "8 of 11 test images are in the validation split, too" in "\n".join(load(tmp_path).warnings)
    shutil.copy(tmp_path / "train" / "cat" / "000.png", tmp_path / "train" / "dog" / "x.png")
    assert "the same image is in two classes" in "\n".join(load(tmp_path).warnings)


def test_the_fingerprint_changes_with_the_data(tmp_path):
    classes(tmp_path, 10)
    before = load(tmp_path).fingerprint
    assert before == load(tmp_path, seed=5).fingerprint
    assert (before["files"], before["examples"]) == (20, 20) and len(before["sha256"]) == 64
    seen = [before["sha256"]]
    fill(tmp_path / "cat", 0, 5, first=80)
    seen.append(load(tmp_path).fingerprint["sha256"])
    assert load(tmp_path).fingerprint["examples"] == 25
    (tmp_path / "cat").rename(tmp_path / "zcat")
    seen.append(load(tmp_path).fingerprint["sha256"])
    shutil.copy(tmp_path / "dog" / "001.png", tmp_path / "dog" / "000.png")
    seen.append(load(tmp_path).fingerprint["sha256"])
    assert len(set(seen)) == 4


def test_for_evaluation_a_folder_is_the_test_split(tmp_path):
    classes(tmp_path / "new", 10)
    data = load(tmp_path / "new", evaluation=True, validation_examples=3)
    assert sizes(data) == {"test": 20} and data.train is None
    classes(tmp_path / "cut" / "test", 4)
    assert sizes(load(tmp_path / "cut", evaluation=True)) == {"test": 8}
    fill(tmp_path / "one" / "cat", 0, 3)
    assert sizes(load(tmp_path / "one", evaluation=True)) == {"test": 3}


def test_many_classes_are_summed_up(tmp_path):
    for number in range(23):
        fill(tmp_path / f"c{number:02}", number % 2, 4 + number % 3, first=10 * number)
    found = load(tmp_path).found
    assert "c19: " in found and "c20: " not in found and "and 3 more classes of 4 to 6 examples each" in found


def test_unknown_folders_are_named(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        load(tmp_path / "none")
    (tmp_path / "link").symlink_to(tmp_path / "moved")
    with pytest.raises(UsageError, match="the link leads to .*moved, which does not exist"):
        load(tmp_path / "link")
    (tmp_path / "link").unlink()
    (tmp_path / "cat").write_text("x")
    with pytest.raises(UsageError, match="it is a file, not a folder"):
        load(tmp_path / "cat")
    (tmp_path / "cat").unlink()
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "a.heic").write_text("x")
    with pytest.raises(ZooError, match=r"no images \(the folder cat has no images \(1 \.heic\) and is left out\)"):
        load(tmp_path)
