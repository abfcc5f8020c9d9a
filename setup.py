"""Recipes and pretrained exports are beside the package in a checkout; a wheel has them inside of it."""

from pathlib import Path
from shutil import copytree

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithData(build_py):
    """Copies recipes/ and saved_models/ into the built package. An editable install uses those of the checkout."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for name in ("recipes", "saved_models"):
                copytree(name, Path(self.build_lib, "zoo", name), dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithData})
