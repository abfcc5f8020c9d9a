"""Pairs of texts: sources and errors."""

import gzip
import hashlib
import re

import babel
import pytest

from conftest import need
from zoo.data import multi30k
from zoo.data.pairs import LOCALES, load_pairs
from zoo.errors import UsageError, ZooError


def test_dates_are_in_thirty_languages_and_no_day_in_two_splits():
    data = load_pairs("dates")
    assert (len(data.train), len(data.validation), len(data.test)) == (40_000, 2_000, 2_000)
    assert len(set(LOCALES)) == 30
    source = f"Babel {babel.__version__}"
    assert data.fingerprint["source"] == source and f"from {source}" in data.found
    assert all(re.fullmatch(r"(19|20)\d\d-\d\d-\d\d", target) for target in data.train.targets)
    days = [set(part.targets) for part in (data.train, data.validation, data.test)]
    assert not days[0] & days[1] and not days[0] & days[2] and not days[1] & days[2]
    # The month is a word: of the numbers in a date none but the day and the year stand alone.
    for source, target in zip(data.train.sources[:3000], data.train.targets[:3000], strict=True):
        numbers = sorted(int(n) for n in re.findall(r"\d+", source))
        assert numbers == sorted([int(target[:4]), int(target[8:])]), (source, target)
    assert load_pairs("dates") == data
    assert (data.train.targets[0], data.test.targets[-1]) == ("2025-03-02", "2068-05-17")  # on every machine


@pytest.mark.parametrize(
    ("name", "second"),
    [
        ("en-de", "Zwei junge weiße Männer"),
        pytest.param("en-fr", "Deux jeunes hommes", marks=pytest.mark.full),
    ],
)
def test_multi30k_is_what_its_files_say(name, second):
    need("multi30k")
    data = load_pairs(f"multi30k/{name}")
    assert (len(data.train), len(data.validation), len(data.test)) == (29_000, 1_014, 1_000)
    first = data.train.sources.index("Two young, White males are outside near many bushes.")
    assert data.train.targets[first].startswith(second)


def test_multi30k_is_prepared_from_its_files(tmp_path):
    sums = {}
    for name in multi30k.SUMS:
        count = {"train": 5, "val": 2}.get(name.partition(".")[0], 3)
        content = gzip.compress("".join(f"{name} {i}\n" for i in range(count)).encode(), mtime=0)
        (tmp_path / f"{name}.gz").write_bytes(content)
        sums[name] = hashlib.sha256(content).hexdigest()

    class Files:
        def download(self, urls):
            return {key: tmp_path / url.rpartition("/")[2] for key, url in urls.items()}

    builder = multi30k.Multi30k(config="en-de", data_dir=tmp_path / "data")
    builder.sums = sums
    splits = {split: list(rows) for split, rows in builder._split_generators(Files()).items()}
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 5, "validation": 2, "test": 3}
    assert splits["test"][1] == (1, {"en": "test_2016_flickr.en 1", "de": "test_2016_flickr.de 1"})
    sums["val.de"] = "0" * 64
    with pytest.raises(ValueError, match=r"val\.de\.gz has the SHA-256"):
        builder._split_generators(Files())


def test_files_of_pairs(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("".join(f"one {i}\teins {i}\n\n" for i in range(40)), encoding="utf-8")
    data = load_pairs(f"tsv:{path}")
    assert sum(len(part) for part in data.present.values()) == 40 and len(data.train) > 30
    assert all(
        t == s.replace("one", "eins") for p in data.present.values() for s, t in zip(p.sources, p.targets, strict=True)
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a\tb\nonly one\n", "line 2: 1 column separated by tabs"),
        (b"a\tb\tc\n", "line 1: 3 columns separated by tabs"),
        (b"a\t \n", "line 1: 2 columns"),
        (b"a\t\xff\n", r"not UTF-8 \(byte 2 is 0xff\)\. Convert it .*iconv"),
        (b"", "has 0 rows, 0 different; at least 3 different ones are needed"),
        (b"a\tb\n" * 9, "has 9 rows, 1 different"),
    ],
)
def test_unfit_files_are_named(tmp_path, content, said):
    path = tmp_path / "a.tsv"
    path.write_bytes(content)
    with pytest.raises(ZooError, match=said):
        load_pairs(f"tsv:{path}")


def test_what_may_be_wrong_with_pairs_is_said(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("".join(f"one {i}\t{'eins' if i % 2 else 'zwei'}\n" for i in range(40)) + "same\tsame\n")
    assert load_pairs(f"tsv:{path}").warnings == (
        "1 of 41 rows have the same text on both sides",
        "41 rows have 3 different translations, which may be labels",
    )


@pytest.mark.parametrize(("rows", "targets", "warned"), [(20, 2, True), (19, 1, False), (30, 3, True), (30, 4, False)])
def test_few_translations_may_be_labels(tmp_path, rows, targets, warned):
    (tmp_path / "a.tsv").write_text("".join(f"one {i}\tzwei {i % targets}\n" for i in range(rows)))
    found = load_pairs(f"tsv:{tmp_path / 'a.tsv'}").warnings
    assert any(f"{rows} rows have {targets} different translations" in line for line in found) == warned


def test_unknown_pairs_are_named(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        load_pairs(f"tsv:{tmp_path / 'none'}")
    with pytest.raises(UsageError, match="it is a folder, not a file"):
        load_pairs(f"tsv:{tmp_path}")
    with pytest.raises(UsageError, match="'multi30k/en-it'.*'multi30k/en-de'|'multi30k/en-it'"):
        load_pairs("multi30k/en-it")
