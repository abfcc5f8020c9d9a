"""Recipes and pretrained exports are beside the package in a checkout; a wheel has them inside of it."""

from pathlib import Path
from shutil import copytree

from setuptools import setup
from setuptools.command.build_py import build_py

MOST_BYTES = 2 * 2**20  # of an export in a wheel; zoo/weights/store.py finds the others


class BuildWithData(build_py):
    """Copies recipes/ and the small ones of saved_models/ into the built package. An editable install uses those of
    the checkout."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        inside = Path(self.build_lib, "zoo")
        copytree("recipes", inside / "recipes", dirs_exist_ok=True)
        for export in Path("saved_models").iterdir():
            if export.is_dir() and size(export) <= MOST_BYTES:
                copytree(export, inside / "saved_models" / export.name, dirs_exist_ok=True)


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


setup(cmdclass={"build_py": BuildWithData})
