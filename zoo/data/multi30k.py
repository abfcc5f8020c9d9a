"""Multi30k (Elliott, Frank, Sima'an & Specia 2016), task 1, as a TFDS builder; TFDS does not contain it."""

import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds

from zoo.data.text_files import split_lines

BASE = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw"
FILES = {"train": "train", "validation": "val", "test": "test_2016_flickr"}
# SHA-256 of the compressed files.
SUMS = {
    "train.de": "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6",
    "train.en": "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f",
    "train.fr": "622e75069e9f4c577425c4f277116ce66e63a2401c0a2312d90073cb12379a3c",
    "val.de": "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a",
    "val.en": "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28",
    "val.fr": "ca3106f1a72390591d25f6c45cb4cd39dec4cd3f123e099748a3ce5256c160e9",
    "test_2016_flickr.de": "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8",
    "test_2016_flickr.en": "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9",
    "test_2016_flickr.fr": "6d326e188d259fb1d04ac19eae3af956559b3a0b93d7635e56c90987c40c8b90",
}


class Multi30k(tfds.core.GeneratorBasedBuilder):
    """Captions of 31,014 pictures in English with their translations; `test` is test_2016_flickr."""

    sums = SUMS
    URLS = tuple(f"{BASE}/{name}.gz" for name in SUMS)
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=f"en-{other}") for other in ("de", "fr")]

    def _info(self) -> tfds.core.DatasetInfo:
        languages = self.builder_config.name.split("-")
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.Translation(languages),
            supervised_keys=tuple(languages),
            homepage="https://github.com/multi30k/dataset",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        names = {
            (split, language): f"{stem}.{language}"
            for split, stem in FILES.items()
            for language in self.builder_config.name.split("-")
        }
        paths = dl_manager.download({key: f"{BASE}/{name}.gz" for key, name in names.items()})
        for key, path in paths.items():
            found = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            if found != self.sums[names[key]]:
                raise ValueError(f"{BASE}/{names[key]}.gz has the SHA-256 {found}, not {self.sums[names[key]]}")
        by_split = {
            split: {language: path for (part, language), path in paths.items() if part == split} for split in FILES
        }
        return {split: self._generate_examples(files) for split, files in by_split.items()}

    def _generate_examples(self, paths: dict[str, Path]) -> Iterator[tuple[int, dict[str, str]]]:
        lines = [split_lines(gzip.decompress(Path(path).read_bytes()).decode()) for path in paths.values()]
        for number, row in enumerate(zip(*lines, strict=True)):
            yield number, {language: text.strip() for language, text in zip(paths, row, strict=True)}
