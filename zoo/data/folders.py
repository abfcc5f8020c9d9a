"""Folders of images: which subfolders are splits, which are classes, and the cut where there are no splits."""

import re
import unicodedata
from bisect import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path

import numpy as np

from zoo.data.decoding import SUFFIXES
from zoo.data.paths import Files, absent, describe_suffixes, display_path, files_below, readable_name, subfolders
from zoo.data.splits import OVERLAPS, SPLIT_WORDS, display_name, share_of
from zoo.errors import UsageError, ZooError

SPLITS = ("train", "validation", "test")
SHARE = 0.1  # of the images, for validation and for test
MANY = 50
SPLIT_NAME = re.compile(
    r"(?:(?P<train>train|training|trn)|(?P<validation>val|valid|validation|dev|development)|(?P<test>test|testing|tst))"
    r"(?:[ _-]?(?:set|split|data|dataset|images|imgs))?(?:[ _-]?(?:19|20)\d\d)?",
    re.IGNORECASE,
)

Classes = dict[str, list[Path]]


@dataclass
class Layout:
    """The image files of each class in each split; `"all"` is the only split of a folder that has to be cut."""

    splits: dict[str, Classes]
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Branch:
    """A subfolder with what is below it."""

    path: Path
    files: Files

    @property
    def name(self) -> str:
        return unicodedata.normalize("NFC", readable_name(self.path.name))

    @property
    def split(self) -> str | None:
        """The split that its name says."""
        match = SPLIT_NAME.fullmatch(self.name)
        return match.lastgroup if match else None

    @property
    def direct(self) -> bool:
        """Whether an image lies in the folder itself."""
        return any(path.parent == self.path for path in self.files.paths)

    @property
    def below(self) -> list[str]:
        """The names of its subfolders that have images."""
        return self._below(self.path)

    def _below(self, folder: Path) -> list[str]:
        depth = len(folder.parts)
        return sorted({path.parts[depth] for path in self.files.paths if len(path.parts) > depth + 1})

    @property
    def choice(self) -> tuple[Path, list[str]]:
        """The first folder from here on that has several subfolders of images and no images itself, and their names;
        no names where an image comes first."""
        folder = self.path
        while not any(path.parent == folder for path in self.files.paths):
            below = self._below(folder)
            if len(below) != 1:
                return folder, below
            folder /= below[0]
        return folder, []


def read_layout(root: Path, *, evaluation: bool = False) -> Layout:
    """Finds out how a folder of images is laid out.

    It has a subfolder for each class, or for each split (train, val, test and their usual variants, in any case) with
    a subfolder for each class. Raises `UsageError` if there is no such folder, `ZooError` if the layout is
    ambiguous or there are fewer than two classes. With `evaluation`, neither a training split nor a second
    class is needed.
    """
    name = f"folder:{display_path(root)}"
    if not root.is_dir():
        raise UsageError(f"{name}: {absent(root, 'folder')}.")
    branches, loose = _branches(root)
    full = [branch for branch in branches if branch.files.paths]
    splits = [branch for branch in full if branch.split and not branch.direct]
    others = [branch for branch in full if branch not in splits]
    layout = Layout({})
    if splits:
        empty = [branch.name for branch in branches if branch.split and branch not in full]
        layout.warnings += [f"{label} has no images, and is not used" for label in empty]
        _read_splits(name, layout, splits, others, evaluation)
    else:
        _check_levels(name, layout, full, evaluation)
        layout.splits["all"] = _classes(name, layout, branches)
    layout.notes += loose
    classes = {label for found in layout.splits.values() for label in found}
    if len(classes) < 1 + (not evaluation):
        what = f"one class, {display_name(min(classes))!r}" if classes else "no images"
        said = [*layout.notes, *layout.warnings]
        unread = f" ({'; '.join(said)})" if said else ""
        raise ZooError(f"{name}: {what}{unread}; there must be a subfolder of images for each of two or more classes.")
    return layout


def _branches(folder: Path) -> tuple[list[Branch], list[str]]:
    """The subfolders of a folder, and notes about the files next to them."""
    branches = [Branch(path, files_below(path, SUFFIXES)) for path in subfolders(folder)]
    beside = files_below(folder, SUFFIXES, recursive=False)
    notes = [f"beside the folders, {note}" for note in beside.notes()]
    if beside.paths:
        count = len(beside.paths)
        notes.append(f"not read: {count:,} image{'s' if count > 1 else ''} beside the folders, which have no class")
    return branches, notes


def _read_splits(name: str, layout: Layout, splits: list[Branch], others: list[Branch], evaluation: bool) -> None:
    by_split: dict[str, Branch] = {}
    for branch in splits:
        if branch.split in by_split:
            raise ZooError(
                f"{name}: {by_split[branch.split].name!r} and {branch.name!r} both look like the {branch.split} split; "
                "keep one, or give them other names."
            )
        by_split[branch.split] = branch
    mixed = [display_name(branch.name) for branch in others if not branch.split]
    names = " and ".join(branch.name for branch in splits)
    look = "look like splits" if len(splits) > 1 else "looks like a split"
    if mixed:
        raise ZooError(
            f"{name}: beside {names}, which {look}, images are in {', '.join(mixed[:3])}"
            f"{', …' if len(mixed) > 3 else ''}; keep either splits, called train, val and test, or classes there."
        )
    if "train" not in by_split and not evaluation:
        flat = [branch.name for branch in others if branch.split == "train"]
        why = f"{flat[0]} has images but no class folders" if flat else "there is none for training"
        raise ZooError(f"{name}: {names} {look}, but {why}.")
    for branch in others:
        layout.warnings.append(f"{branch.name} has images but no class folders, and is not used")
    for split in SPLITS:
        if split in by_split:
            layout.splits[split] = _classes_of_split(name, layout, by_split[split])
    named = {split: by_split[split].path.name for split in layout.splits}
    layout.notes.insert(0, ", ".join(f"{split} is {display_path(folder)}" for split, folder in named.items()))
    known = set(layout.splits.get("train", ()))
    for split, found in layout.splits.items():
        for label in sorted(set(found) - known if known else ()):
            raise ZooError(f"{name}: {split} has the class {label!r}, which train has not.")
    if set(layout.splits) == {"train"}:
        layout.splits = {"all": layout.splits["train"]}


def _classes_of_split(name: str, layout: Layout, branch: Branch) -> Classes:
    branches, notes = _branches(branch.path)
    full = [inner for inner in branches if inner.files.paths]
    if len(full) == 1 and full[0].split == branch.split:  # training_set/training_set/…, as some archives have it
        return _classes_of_split(name, layout, full[0])
    layout.notes += [f"{branch.name}: {note}" for note in notes]
    return _classes(name, layout, branches)


def _classes(name: str, layout: Layout, branches: Sequence[Branch]) -> Classes:
    """The image files of each class, by its name in NFC; folders without images are named in the warnings."""
    classes: Classes = {}
    for branch in branches:
        notes = branch.files.notes()
        if not branch.files.paths:
            other = f" ({describe_suffixes(branch.files.other)})" if branch.files.other else ""
            layout.warnings.append(f"the folder {display_name(branch.name)} has no images{other} and is left out")
            continue
        if branch.name in classes:
            raise ZooError(f"{name}: two folders have the name {branch.name!r} in different encodings; rename one.")
        classes[branch.name] = branch.files.paths
        layout.notes += [f"{display_name(branch.name)}: {note}" for note in notes]
        if not branch.direct and len(branch.below) > 1:
            inner = ", ".join(map(display_path, branch.below[:3])) + (", …" if len(branch.below) > 3 else "")
            layout.warnings.append(
                f"{display_name(branch.name)} has no images of its own but {len(branch.below)} folders of images "
                f"({inner}); if those are the classes, use folder:{display_path(branch.path)}"
            )
    return classes


def _check_levels(name: str, layout: Layout, full: Sequence[Branch], evaluation: bool) -> None:
    """Raises `ZooError` if the folders are probably not classes."""
    flat = [branch.name for branch in full if branch.split]
    if full and len(flat) == len(full):
        raise ZooError(
            f"{name}: {' and '.join(flat)} {'have' if len(flat) > 1 else 'has'} images but no class folders; "
            "there must be a subfolder of images for each class in them."
        )
    if flat:
        layout.warnings.append(f"{', '.join(flat)}: read as a class, because images lie in the folder itself")
    for branch in full:
        inner = [Branch(branch.path / below, Files()).split for below in branch.below]
        if not branch.direct and ("train" in inner or (len(full) == 1 and len(inner) > 1 and not evaluation)):
            raise ZooError(
                f"{name}: this is one level too high. Its folder {display_name(branch.name)} has the folders "
                f"{', '.join(map(display_path, branch.below[:4]))}; use folder:{display_path(branch.path)}"
            )
    inside = [set(branch.choice[1]) for branch in full]  # of seg_train/seg_train/…, too
    shared = sorted(set.intersection(*inside)) if inside else []
    if len(full) > 1 and len(shared) > 1:
        raise ZooError(
            f"{name}: each of its folders ({_few(display_name(branch.name) for branch in full)}) has the same folders "
            f"in it ({_few(map(display_path, shared))}). If they are splits, call them train, val and test; else this "
            f"is one level too high: use for example folder:{display_path(full[0].choice[0])}"
        )


def _few(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "")


def cut_classes(
    classes: Classes, hashes: Mapping[Path, bytes], keys: Mapping[Path, str]
) -> tuple[dict[str, Classes], list[str]]:
    """About ten per cent of each class to test and ten to validation, at least one image each if two remain for train.

    The hashes of the images' keys decide and not the seed, so that runs with other seeds, ensembles of them, and
    trainings from their exports have one test split. In a class of `MANY` images or more each is drawn by itself, so
    that it stays in its split when others are added; in a smaller one the numbers are exact. Identical images are in
    one split. Also gives warnings.
    """
    splits: dict[str, Classes] = {split: {} for split in SPLITS}
    warnings = []
    for name, paths in sorted(classes.items()):
        groups, key_of = list(_identical(paths, hashes)), keys.get
        if len(groups) <= 3 < len(paths):
            warnings.append(
                f"the {len(paths):,} images of {display_name(name)} are copies of {len(groups)}, too few to be cut: "
                "there are copies in several splits"
            )
            groups, key_of = [[path] for path in paths], attrgetter("name")
        ranked = sorted((share_of(key_of(group[0])), group) for group in groups)
        shares, groups = [share for share, _ in ranked], [group for _, group in ranked]
        held = max(int(SHARE * len(groups)), 1 if len(groups) > 3 else 0)
        ends = [held, 2 * held]
        if len(groups) >= MANY:
            first = max(bisect(shares, SHARE), 1)
            ends = [first, max(bisect(shares, 2 * SHARE), first + 1)]
        for split, part in zip(("test", "validation", "train"), np.split(np.arange(len(groups)), ends), strict=True):
            if len(part):
                splits[split][name] = sorted(path for i in part for path in groups[i])
    return splits, warnings


def _identical(paths: Sequence[Path], hashes: Mapping[Path, bytes]) -> Iterable[list[Path]]:
    """The paths in groups of identical files, in the order of the first of each."""
    groups: dict[bytes | Path, list[Path]] = {}
    for path in paths:
        groups.setdefault(hashes.get(path, path), []).append(path)
    return groups.values()


def copy_warnings(splits: Mapping[str, Classes], hashes: Mapping[Path, bytes]) -> list[str]:
    """Images that are in two splits, and images that are in two classes."""
    paths = {split: [path for found in classes.values() for path in found] for split, classes in splits.items()}
    warnings = []
    for split, other in OVERLAPS:
        known = {hashes[path] for path in paths.get(other, ()) if path in hashes}
        copies = [path for path in paths.get(split, ()) if hashes.get(path) in known]
        if copies:
            warnings.append(
                f"{len(copies):,} of {len(paths[split]):,} {split} images are in the {SPLIT_WORDS[other]} split, too, "
                f"for example {display_path(copies[0])}"
            )
    seen: dict[bytes, tuple[str, Path]] = {}
    for classes in splits.values():
        for name, paths in classes.items():
            for path in paths:
                label, other = seen.setdefault(hashes.get(path, bytes(path)), (name, path))
                if label != name:
                    warnings.append(f"the same image is in two classes: {display_path(other)} and {display_path(path)}")
                    return warnings
    return warnings
