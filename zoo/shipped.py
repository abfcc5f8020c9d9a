"""Folders that come with the package. Standard library only."""

from pathlib import Path


def shipped_folder(name: str) -> Path:
    """The folder `name`, such as "recipes": inside the package where it is installed, beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / name
