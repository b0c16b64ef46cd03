"""meson-python, but for two things.

A wheel holds what git tracks alone, and an editable install which could not rebuild itself says
what to do.
"""

import os
import sys
from pathlib import Path

import mesonpy
from mesonpy import (
    build_sdist,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
]


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """Build as meson-python does, of tracked files."""
    os.environ["LAPSUM_TRACKED_ONLY"] = "yes"  # for meson.build
    return mesonpy.build_wheel(wheel_directory, config_settings, metadata_directory)


def get_requires_for_build_editable(config_settings=None):
    """Return what meson-python asks for, if the tools will still be there afterwards.

    An editable lapsum is rebuilt when it is imported, and pip deletes the environment of an
    isolated build.
    """
    if not Path(mesonpy.__file__).is_relative_to(sys.prefix):
        sys.exit(
            "An editable install of lapsum rebuilds itself when it is imported, and needs its "
            "build tools for that:\n"
            "    pip install meson-python meson ninja Cython numpy\n"
            "    pip install --no-build-isolation --editable ."
        )
    return mesonpy.get_requires_for_build_editable(config_settings)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """Build as meson-python does."""
    return mesonpy.build_editable(wheel_directory, config_settings, metadata_directory)
