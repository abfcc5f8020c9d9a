"""Texts of files and requests, their decoding and normalisation in Python and in the graph; tables and treebanks."""

import bz2
import gzip
import itertools
import lzma
import os
import random
import re
import unicodedata

import pytest
import tensorflow as tf

from zoo.data import text_files, unicode
from zoo.data.labelled import load_labelled
from zoo.data.pairs import load_pairs
from zoo.data.sentences import load_tagged
from zoo.data.splits import cut_by_content, share_of
from zoo.data.text import load_text
from zoo.data.text_files import decode_text, split_lines
from zoo.data.tokens import Tokenizer
from zoo.data.vocabulary import Characters, WordsAndCharacters
from zoo.errors import UsageError, ZooError

SURROGATES = range(0xD800, 0xE000)
HANGUL = range(0xAC00, 0xD7A4)


@tf.function(input_signature=[tf.TensorSpec((None,), tf.string)])
def in_graph(texts):
    return unicode.normalize(texts)


def check(texts):
    got = [text.decode() for text in in_graph(tf.constant([text.encode() for text in texts])).numpy()]
    for text, ours in zip(texts, got, strict=True):
        assert ours == text_files.normalize(text), [hex(ord(c)) for c in text]


def test_the_graph_normalises_every_character_as_python_does():
    characters = [chr(i) for i in range(1, 0x110000) if i not in SURROGATES]
    check([c + "x" for c in characters])
    check(["a" + unicodedata.normalize("NFD", c) + "b" for c in characters if unicodedata.decomposition(c)])


def spellings(character):
    """Every canonically equivalent spelling: the marks in any order, the first of them composed or not."""
    first, *marks = unicodedata.normalize("NFD", character)
    for order in set(itertools.permutations(marks)):
        text = first + "".join(order)
        for count in range(1, len(text) + 1):
            yield unicodedata.normalize("NFC", text[:count]) + text[count:]


def test_every_spelling_of_every_composed_character_is_one():
    composed = [chr(i) for i in range(0xC0, 0x30000) if i not in SURROGATES and i not in HANGUL]
    composed = [c for c in composed if unicodedata.normalize("NFD", c) != c]
    assert len(composed) > 2000
    check([text for c in composed for text in spellings(c)])
    check(
        [
            chr(0x1100 + i // 588) + chr(0x1161 + i % 588 // 28) + ("", chr(0x11A7 + i % 28))[i % 28 > 0]
            for i in range(11172)
        ]
    )
    check([chr(i - (i - 0xAC00) % 28) + ("", chr(0x11A7 + (i - 0xAC00) % 28))[(i - 0xAC00) % 28 > 0] for i in HANGUL])


def test_any_sequence_of_marks_and_letters_is_normalised():
    draw = random.Random(0)
    everything = [chr(i) for i in range(0xC0, 0x30000) if i not in SURROGATES]
    marks = [c for c in everything if unicodedata.combining(c)]
    letters = [c for c in everything if unicodedata.decomposition(c)]
    pool = (
        letters
        + 3 * marks
        + 30 * list("aeiouAEIOU\u09c7\u09be")
        + [chr(i) for i in range(0x1100, 0x1200)]
        + ["가", "각"]
    )
    check(["".join(draw.choices(pool, k=draw.randint(0, 8))) for _ in range(50_000)])


def test_line_ends_and_byte_order_marks_are_one_in_the_graph():
    check(["a\r\nb\rc\n", "\ufeffa", "a\ufeff", "\r", "", "a\u2028b\u0085c\x0bd\x0ce", "\ufeff\r\ne\u0301"])
    assert in_graph(tf.constant([b"\xffab", b""])).numpy().tolist() == [b"\xffab", b""]
    assert unicode.normalize(tf.constant([["e\u0301"], ["x"]])).numpy().tolist() == [["é".encode()], [b"x"]]


@pytest.mark.parametrize("text", ["Tiếng Việt", "한국어 각", "άέή ᾧ", "Grüße"])
def test_vocabularies_read_every_spelling_alike(text):
    nfd = unicodedata.normalize("NFD", text)
    half = "".join(unicodedata.normalize("NFC", nfd[i : i + 2]) for i in range(0, len(nfd), 2))
    requests = tf.constant([text, nfd, half])
    ids = Characters(text).encode(requests).to_list()
    assert ids[0] == ids[1] == ids[2] and 0 not in ids[0]
    for unit in ("words", "characters"):
        tokens = Tokenizer(unit, False).split(requests).to_list()
        assert tokens[0] == tokens[1] == tokens[2]
    words = WordsAndCharacters({word: 1 for word in text.split()}, 1)
    read, spelled = words(tf.strings.split(requests, " "))
    assert read.to_list()[0] == read.to_list()[1] == read.to_list()[2] and 1 not in read.to_list()[0]
    assert spelled.to_list()[0] == spelled.to_list()[1] == spelled.to_list()[2]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(b"a"), "x is no text, but compressed by gzip; unpack it with gunzip"),
        (bz2.compress(b"a"), "x is no text, but compressed by bzip2"),
        (lzma.compress(b"a"), "x is no text, but compressed by xz"),
        (b"PK\x03\x04\x14\0\x08\0", "x is no text, but a ZIP archive, as .xlsx, .docx and .odt are"),
        (b"%PDF-1.7\n", "x is no text, but a PDF document; save it as text"),
        (b"{\\rtf1\\ansi Text}", "x is no text, but a document in RTF; save it as text"),
        (bytes(100), "x is no text: all its bytes are 0"),
    ],
    ids=["gzip", "bzip2", "xz", "zip", "pdf", "rtf", "zeros"],
)
def test_files_that_are_no_text_are_named(content, said):
    with pytest.raises(ZooError, match=said):
        decode_text(content, "x")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a" * 300, "File name too long"),
        ("a\0b", r"The path is .*a\\x00b.; it must be that of a file or folder"),
        ("pipe", "it is a pipe or a device, which cannot be read again, not a file"),
        ("*.tsv", r"there is no such file; it is no pattern"),
    ],
)
def test_paths_that_cannot_be_read_are_refused(tmp_path, name, said):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match=said):
        labelled(f"tsv:{tmp_path}/{name}")
    if name == "pipe":
        with pytest.raises(UsageError, match=said):
            load_text(f"text:{tmp_path}/pipe", split="tfds", streams=2, sequence_length=10)
    with pytest.raises(UsageError, match="tsv:~no-such-user/x: there is no such file"):
        labelled("tsv:~no-such-user/x")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_unicode_with_a_byte_order_mark_is_read(encoding):
    assert decode_text("né\r\n日本\r".encode(encoding), "x") == "né\n日本\n"
    for mark, other in ((b"\xfe\xff", "utf-16-be"), (b"\xff\xfe", "utf-16-le")):
        assert decode_text(mark + "né".encode(other), "x") == "né"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("żółć".encode("cp1250"), r"x is not UTF-8 \(byte 0 is 0xbf\)\. Convert it first, for example with: iconv -f "),
        ("ab" * 50 + "é", r"x is not UTF-8 \(byte 100 is 0xe9\)"),
        (b"\xff\xfea\0b", r"x ends within a character; its end is missing"),
        ("né, né".encode()[:-1], r"x ends within a character; its end is missing"),
        ("no mark at the start".encode("utf-16-le"), r"many of its bytes are 0.*iconv -f UTF-16LE"),
        ("no mark at the start".encode("utf-16-be"), r"many of its bytes are 0.*iconv -f UTF-16BE"),
        ("ни метки в начале".encode("utf-16-be"), r"many of its bytes are control characters.*iconv -f UTF-16BE"),
        ("χωρίς σήμα".encode("utf-16-le"), r"x is not UTF-"),
        ("नमस्ते दुनिया".encode("utf-16-le"), r"many of its bytes are control characters.*iconv -f UTF-16"),
        ("映画は良い".encode("iso2022-jp"), r"escape sequences of ISO-2022.*iconv -f ISO-2022-JP"),
    ],
)
def test_other_encodings_are_refused(content, said):
    with pytest.raises(ZooError, match=said):
        decode_text(content if isinstance(content, bytes) else content.encode("latin-1"), "x")


def test_a_zero_within_a_table_is_text():
    table = "1\ta\t_\tX\t_\t_\n\n" * 20 + "2\t\0\t_\tX\n"
    assert decode_text(table.encode(), "x") == table


def test_only_line_feeds_end_lines():
    assert split_lines("a\u2028b\u0085c\x0bd\x0ce\x1cf\ng\n") == ["a\u2028b\u0085c\x0bd\x0ce\x1cf", "g"]
    assert split_lines("") == [] and split_lines("\n") == [""] and split_lines("a") == ["a"]


ROWS = [f"film {i} is {('fine', 'dull')[i % 2]}\t{('pos', 'neg')[i % 2]}" for i in range(600)]


def table(tmp_path, rows, end="\n", encoding="utf-8"):
    path = tmp_path / "rows.tsv"
    path.write_bytes("".join(f"{row}{end}" for row in rows).encode(encoding))
    return f"tsv:{path}"


def labelled(name, **options):
    return load_labelled(name, **{"validation_examples": 40, "seed": 0, **options})


def test_periodic_rows_are_split_evenly(tmp_path):
    data = labelled(table(tmp_path, ROWS))
    for part in data.present.values():
        assert 0.3 < sum(part.labels) / len(part) < 0.7
    assert "cut by a hash of the text: 10 % for test" in data.found
    counts = [part.labels.count(1) for part in data.present.values()]
    assert f"pos: {counts[0]} train, {counts[1]} validation, {counts[2]} test" in data.found
    ways = [f"{('en', 'de')[i % 2]} {i}\t{('de', 'en')[i % 2]} {i}" for i in range(400)]
    pairs = load_pairs(table(tmp_path, ways))
    for part in (pairs.validation, pairs.test):
        assert {source[:2] for source in part.sources} == {"en", "de"}


def test_the_cut_is_the_contents_and_stays_when_rows_are_added(tmp_path):
    before = labelled(table(tmp_path, ROWS), validation_examples=0)
    shuffled = random.Random(1).sample(ROWS, len(ROWS))
    after = labelled(table(tmp_path, [*shuffled, *(f"new {i}\tpos" for i in range(300))]), validation_examples=0)
    assert set(before.test.texts) <= set(after.test.texts) and set(before.train.texts) <= set(after.train.texts)
    assert share_of("A  film\u00a0x") == share_of("a film x") == share_of(" a film x")
    assert share_of("film 1") == 0.9780999031811086 and share_of("film 1") != share_of("film 2")


def test_equal_rows_are_in_one_split(tmp_path):
    data = labelled(
        table(tmp_path, ROWS[:100] + [row.upper().replace("POS", "pos").replace("NEG", "neg") for row in ROWS[:100]])
    )
    texts = [{text.casefold() for text in part.texts} for part in data.present.values()]
    assert not texts[0] & texts[1] and not texts[0] & texts[2] and not texts[1] & texts[2]
    pairs = load_pairs(table(tmp_path, [f"one {i % 50}\teins {i}" for i in range(200)]))
    sources = [set(part.sources) for part in pairs.present.values()]
    assert not sources[0] & sources[1] and not sources[0] & sources[2]


@pytest.mark.parametrize(("count", "validation"), [(3, 0.1), (3, 1), (5, 0.05), (40, 0.05), (1000, 0.1)])
def test_small_data_has_every_split(count, validation):
    sides = cut_by_content("x", [f"row {i}" for i in range(count)], validation=validation, test=0.1)
    assert all(sides.values()) and sorted(sum(sides.values(), [])) == list(range(count))
    if count == 1000:
        assert 70 < len(sides["test"]) < 130 and 70 < len(sides["validation"]) < 130


def test_headers_are_detected(tmp_path):
    for header in (
        "sentence\tlabel",
        "Review Text\tSentiment",
        "text\tclass_id",
        "sentence1\tlabel",
        '"text"\t"label"',
    ):
        data = labelled(table(tmp_path, [header, *ROWS]))
        assert data.classes == ("neg", "pos") and "line 1 is a header" in data.found
    for header in (
        *("source\ttarget", "English\tGerman", "en\tde", "src text\ttgt text", "English sentence\tdeu"),
        *(
            "Deutsch\tEnglisch",
            "allemand\tanglais",
            "немецкий\tанглийский",
            "ドイツ語\t英語",
            "sentence_en\tsentence_de",
        ),
    ):
        assert (
            "line 1 is a header" in load_pairs(table(tmp_path, [header, *(f"a {i}\tb {i}" for i in range(40))])).found
        )
    for first in ("Guten Tag\tGood day", "Deutsch ist schwer\tGerman is hard", "Wort\tword"):
        assert "is a header" not in load_pairs(table(tmp_path, [first, *(f"a {i}\tb {i}" for i in range(40))])).found
    assert len(labelled(table(tmp_path, ["the text\tpos", *ROWS])).present) == 3
    with pytest.raises(ZooError, match="the header .label, text. says that the label comes first"):
        labelled(table(tmp_path, ["label\ttext", *ROWS]))
    unknown = labelled(table(tmp_path, ["v1\tv2", *ROWS]))
    assert (
        "the label of the first row, 'v2', is in no other row; if that row is a header, remove it" in unknown.warnings
    )
    assert not any("first row" in line for line in labelled(table(tmp_path, ROWS)).warnings)


def test_joined_tables_have_one_header_and_no_marks_inside(tmp_path):
    rows = ["text\tlabel", *ROWS[:100], "\ufefftext\tlabel", *ROWS[100:], "\ufefffilm 1 is dull\tneg"]
    data = labelled(table(tmp_path, rows))
    assert data.classes == ("neg", "pos") and sum(map(len, data.present.values())) == 601
    assert "the header is there 2 times, and was left out each time" in data.found
    assert "1 of 601 rows are copies of others" in data.found


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["\t".join(reversed(row.split("\t"))) for row in ROWS], "600 different labels in 600 rows, and 2 .*swapped"),
        ([f"{'abc'[i % 3]}\tb {i % 9}" for i in range(50)], "9 different labels in 50 rows, and 3 .*swapped"),
        (["a\tpos", "a\tneg"] * 20, "has 40 rows, 1 different"),
        ([f"a {i}\tb {i}" for i in range(50)], "50 different labels in 50 rows; a class needs several texts"),
        ([f"a {i}\tpos" for i in range(50)], "every row has the label 'pos'; two or more are needed"),
        (["a,b"], "line 1: 1 column separated by tabs, but there are commas"),
        (["a    b"], "line 1: 1 column separated by tabs, but there are spaces"),
        (['"two', 'lines"\tb'], "line 1: 1 column .*with an open quote: a cell cannot go on in the next line"),
        (["a\tb\tc"], r"line 1: 3 columns separated by tabs \(`cut -f1,2"),
        (["a\t"], "line 1: 2 columns separated by tabs, of which one is empty"),
        (["a\tb", "\u200b\tb"], "line 2: 2 columns separated by tabs, of which one is empty"),
        ([], "has no row"),
    ],
)
def test_invalid_tables_are_refused(tmp_path, rows, said):
    with pytest.raises(ZooError, match=said):
        labelled(table(tmp_path, rows))


def test_suspicious_tables_give_warnings(tmp_path):
    rows = [
        *ROWS,
        "a film\tNaN",
        "a film\tneg",
        "one\tneg\u200b",
        'the "best"\tPos',
        '"quoted"\tpos',
        '"quoted, too"\tneg',
        "cafe\u0301\tneg",
    ]
    data = labelled(table(tmp_path, rows))
    warnings = "\n".join(data.warnings)
    assert (
        "2 of 607 rows have a cell in double quotes" in warnings and "the label 'NaN', which programs write" in warnings
    )
    assert "the labels 'Pos' and 'pos' differ in case or spacing only" in warnings
    assert "the labels 'neg' and 'neg\\u200b' differ" in warnings
    assert "1 text has several labels, for example 'a film'" in warnings
    assert any("caf\u00e9" in part.texts for part in data.present.values())
    uneven = labelled(table(tmp_path, [*(f"a {i}\tpos" for i in range(300)), *(f"b {i}\tneg" for i in range(9))]))
    assert any("the classes are unbalanced" in line for line in uneven.warnings)


@pytest.mark.parametrize(
    ("end", "encoding"), [("\r\n", "utf-8"), ("\r", "utf-8"), ("\n", "utf-8-sig"), ("\n", "utf-16")]
)
def test_line_ends_and_encodings_change_nothing(tmp_path, end, encoding):
    plain = labelled(table(tmp_path, ROWS))
    other = labelled(table(tmp_path, ROWS, end, encoding))
    assert other.train == plain.train and other.test == plain.test
    assert other.fingerprint["sha256"] == plain.fingerprint["sha256"]


def test_separators_that_are_not_line_ends_stay_in_the_text(tmp_path):
    rows = [f"a\u2028b\u0085c\x0bd\x0ce {row}" for row in ROWS]
    assert sum(len(part) for part in labelled(table(tmp_path, rows)).present.values()) == 600


def test_for_evaluation_a_file_is_the_test_split(tmp_path):
    data = labelled(table(tmp_path, ROWS), evaluation=True)
    assert data.train is None and data.validation is None and len(data.test) == 600
    assert len(load_pairs(table(tmp_path, ROWS), evaluation=True).test) == 600
    many = labelled(table(tmp_path, [f"words {i}\tkind {i}" for i in range(30)]), evaluation=True)
    assert len(many.classes) == 30
    path = tmp_path / "t.conllu"
    path.write_text("".join(map(sentence, range(20))))
    assert len(load_tagged(f"conllu:{path}", evaluation=True).test) == 20
    (tmp_path / "t.txt").write_text("To be or not to be")
    data = load_text(f"text:{tmp_path / 't.txt'}", split="tfds", streams=4, sequence_length=20, evaluation=True)
    assert data.test.rows == ("To be or not to be",) and data.train is None


def test_names_of_files_may_be_any_bytes(tmp_path):
    name = str(tmp_path).encode() + b"/caf\xe9[1]*"
    for suffix, content in (
        (b".tsv", "\n".join(ROWS)),
        (b".conllu", "".join(map(sentence, range(50)))),
        (b".txt", "abc " * 200),
    ):
        with open(name + suffix, "w") as file:
            file.write(content)
    path = os.fsdecode(name)
    for data in (
        labelled(f"tsv:{path}.tsv"),
        load_pairs(f"tsv:{path}.tsv"),
        load_tagged(f"conllu:{path}.conllu"),
        load_text(f"text:{path}.txt", split="tfds", streams=2, sequence_length=20),
    ):
        assert "caf\\xe9[1]*" in data.found and data.found.encode() and len(data.train)


def test_fingerprints_change_with_the_rows(tmp_path):
    one = labelled(table(tmp_path, ROWS)).fingerprint
    other = labelled(table(tmp_path, [*ROWS[:-1], "film 599 is dull\tpos"])).fingerprint
    more = labelled(table(tmp_path, [*ROWS, "a\tpos"])).fingerprint
    assert (one["files"], one["examples"], more["examples"]) == (1, 600, 601)
    assert len({one["sha256"], other["sha256"], more["sha256"]}) == 3


def test_a_file_has_one_fingerprint_whether_it_is_cut_or_not(tmp_path):
    name = table(tmp_path, ROWS)
    assert labelled(name).fingerprint == labelled(name, evaluation=True).fingerprint
    assert load_pairs(name).fingerprint == load_pairs(name, evaluation=True).fingerprint
    treebank(tmp_path / "a", {"a-train.conllu": (0, 60)})
    for dataset in (f"conllu:{tmp_path / 'a'}", f"conllu:{tmp_path / 'a' / 'a-train.conllu'}"):
        assert load_tagged(dataset).fingerprint == load_tagged(dataset, evaluation=True).fingerprint
    # Another order is another training.
    shuffled = labelled(table(tmp_path, ROWS[::-1])).fingerprint
    assert shuffled["sha256"] != labelled(table(tmp_path, ROWS)).fingerprint["sha256"]


def sentence(number, tag="NOUN"):
    return f"1\tw{number}\t_\tDET" + "\t_" * 6 + f"\n2\tc{number}\t_\t{tag}" + "\t_" * 6 + "\n\n"


def treebank(folder, files):
    folder.mkdir()
    for name, (first, last) in files.items():
        (folder / name).write_text("".join(map(sentence, range(first, last))))
    return f"conllu:{folder}"


PARTS = ((0, 100), (100, 110), (110, 125))


@pytest.mark.parametrize(
    "names",
    [
        ("en_test-ud-train.conllu", "en_test-ud-dev.conllu", "en_test-ud-test.conllu"),
        ("latest-train.conllu", "latest-dev.conllu", "latest-test.conllu"),
        ("devoted_train.conllu", "devoted_val.conllu", "devoted_test.conllu"),
        ("X-TRAIN.CONLLU", "X-DEV.conllu", "X-TEST.conllu"),
        ("training.conllu", "validation.conllu", "testing.conllu"),
    ],
)
def test_names_of_treebank_files_say_their_split(tmp_path, names):
    data = load_tagged(treebank(tmp_path / "a", dict(zip(names, PARTS, strict=True))))
    assert {split: len(part) for split, part in data.present.items()} == {"train": 100, "validation": 10, "test": 15}
    assert f"train: {names[0]}" in data.found and "tags in train: DET 100, NOUN 100" in data.found and not data.warnings


def test_official_names_alone_count_where_there_are_any(tmp_path):
    names = dict(zip(("xx_a-ud-train-1.conllu", "xx_a-ud-train-2.conllu", "xx_a-ud-test.conllu"), PARTS, strict=True))
    data = load_tagged(treebank(tmp_path / "a", {**names, "old_train.conllu": (200, 230)}))
    assert (len(data.train), data.validation, len(data.test)) == (110, None, 15)
    assert "not read: old_train.conllu" in data.found


def test_training_files_alone_are_cut(tmp_path):
    name = treebank(tmp_path / "a", {"a-train-1.conllu": (0, 60), "a-train-2.conllu": (60, 100)})
    data = load_tagged(name)
    assert sum(map(len, data.present.values())) == 100 and list(data.present) == ["train", "validation", "test"]
    assert "cut by a hash of each sentence" in data.found and "train: a-train-1.conllu, a-train-2.conllu" in data.found
    assert list(load_tagged(name, evaluation=True).present) == ["test"]


def test_spaces_around_words_and_tags_are_no_part_of_them(tmp_path):
    plain, spaced = "".join(map(sentence, range(50))), "".join(sentence(i, " NOUN ") for i in range(50))
    for name, content in (("a", plain), ("b", spaced.replace("\tw", "\t w"))):
        (tmp_path / name).write_text(content)
    assert load_tagged(f"conllu:{tmp_path / 'b'}").train == load_tagged(f"conllu:{tmp_path / 'a'}").train


def test_words_that_are_left_out_of_a_treebank_are_warned_of(tmp_path):
    rows = [f"{sentence(i)[:-1]}3\t_\t_\tX" + "\t_" * 6 + "\n\n" for i in range(50)]
    (tmp_path / "a").write_text("".join(rows))
    assert not load_tagged(f"conllu:{tmp_path / 'a'}").warnings
    (tmp_path / "a").write_text("".join(re.sub(r"\tc\d+", "\t_", row) for row in rows))
    assert "100 of 150 words are _, which stands for a word that" in load_tagged(f"conllu:{tmp_path / 'a'}").warnings[0]


def test_names_that_say_two_splits_or_none_are_refused(tmp_path):
    with pytest.raises(ZooError, match="its name says test and train; name it as Universal Dependencies does"):
        load_tagged(treebank(tmp_path / "a", {"test-train.conllu": (0, 20)}))
    treebank(tmp_path / "b", {})
    treebank(tmp_path / "b" / "UD_X", {"xx-ud-train.conllu": (0, 20)})
    (tmp_path / "b" / "a.conll").write_text("x")
    with pytest.raises(ZooError, match=r"with 'train' in its name \(not read: 1 \.conll\)\. Its folder UD_X has"):
        load_tagged(f"conllu:{tmp_path / 'b'}")


def test_a_treebank_file_is_cut_by_its_sentences(tmp_path):
    path = tmp_path / "x.conllu"
    rows = [sentence(i // 2, tag="SYM" if i % 10 == 9 else "NOUN") for i in range(400)]
    path.write_text("".join(rows))
    data = load_tagged(f"conllu:{path}")
    parts = [set(part.tokens) for part in data.present.values()]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not data.warnings
    for part in data.present.values():
        assert {tag for row in part.tags for tag in row} == {"DET", "NOUN", "SYM"}
    path.write_text("".join(sentence(1) for _ in range(50)))
    with pytest.raises(ZooError, match="has 50 rows, 1 different; at least 3 different ones are needed"):
        load_tagged(f"conllu:{path}")


def test_a_treebank_with_one_tag_is_refused(tmp_path):
    path = tmp_path / "x.conllu"
    path.write_text("".join(sentence(i, tag="DET") for i in range(50)))
    with pytest.raises(ZooError, match="every word of the training split has the tag 'DET'; two or more"):
        load_tagged(f"conllu:{path}")
    assert len(load_tagged(f"conllu:{path}", evaluation=True).test) == 50


def test_warnings_name_overlap_and_unknown_tags_of_a_treebank(tmp_path):
    folder = treebank(tmp_path / "a", {"a-train.conllu": (0, 50), "a-test.conllu": (40, 60)})
    with open(tmp_path / "a" / "a-test.conllu", "a") as file:
        file.write(sentence(99, tag="X"))
    with open(tmp_path / "a" / "a-train.conllu", "a") as file:
        file.write(sentence(98, tag="noun"))
    assert load_tagged(folder).warnings == (
        "the tags 'NOUN' and 'noun' differ in case or spacing only",
        "the test split has tags that train has not: X",
        "10 of 21 test sentences are in the training split, too",
    )


def test_folders_of_texts(tmp_path):
    for name, content in (
        ("b.TXT", "second\r\n"),
        ("a.txt", "first"),
        ("c.md", "x"),
        ("._a.txt", "x"),
        (".x/d.txt", "x"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content.encode() * 100)
    data = load_text(f"text:{tmp_path}", split="tfds", streams=2, sequence_length=10, evaluation=True)
    assert data.test.rows[0] == "first" * 100 + "\n" + "second\n" * 100
    assert "2 .txt files: a.txt, b.TXT" in data.found and "not read: 1 .md" in data.found and not data.warnings
    assert data.fingerprint["files"] == 2
    with pytest.raises(ZooError, match=r"holds no text in \.txt files \(0 \.txt files; not read: 1 \.md\)"):
        for name in ("a.txt", "b.TXT"):
            (tmp_path / name).unlink()
        load_text(f"text:{tmp_path}", split="tfds", streams=2, sequence_length=10)


def test_texts_that_are_there_twice_or_named_as_splits_are_warned_of(tmp_path):
    lines = "".join(f"line {i} of a novel which nobody wrote twice\n" for i in range(200))
    options = {"split": "tfds", "streams": 2, "sequence_length": 10}
    (tmp_path / "a.txt").write_text(lines)
    assert not load_text(f"text:{tmp_path}", **options).warnings
    (tmp_path / "b.txt").symlink_to("a.txt")
    assert load_text(f"text:{tmp_path}", **options).warnings == (
        "17 of 17 pieces of 50 validation characters are in the training split, too",
        "17 of 17 pieces of 50 test characters are in the training split, too",
    )
    (tmp_path / "b.txt").unlink()
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
    (tmp_path / "a.txt").rename(tmp_path / "train" / "a.txt")
    (tmp_path / "test" / "a.txt").write_text("other " * 5)
    (warning,) = load_text(f"text:{tmp_path}", **options).warnings
    assert "the names of the files say test and train, but they are joined and cut as one text" in warning


def test_the_number_of_texts_is_said_where_too_many_are_held_out(tmp_path):
    with pytest.raises(ZooError, match=r"has [1-9]\d training and \d+ test texts, too few with 500 for validation"):
        labelled(table(tmp_path, ROWS[:40]), validation_examples=500)
