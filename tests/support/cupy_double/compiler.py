"""From the source of a kernel to a function: the host's C++ compiler, a cache of files, ctypes."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
# -ffp-contract=off: the same roundings on every host.  What is undefined in C++ traps, and is
# reported with the name of the kernel: indices outside of local and shared arrays among others.
FLAGS = (
    *("-std=c++17", "-O1", "-w", "-fPIC", "-shared", "-ffp-contract=off", "-fno-math-errno"),
    "-fno-strict-aliasing",
    "-fsanitize=bounds,shift,signed-integer-overflow,integer-divide-by-zero,float-cast-overflow",
    "-fsanitize-undefined-trap-on-error",
)
RUNTIME_FLAGS = ("-std=c++17", "-O2", "-w", "-fPIC", "-shared", "-U_FORTIFY_SOURCE")

# One launch at a time, as on one stream.
LOCK = threading.RLock()


class CompileException(Exception):
    """A kernel that does not compile; CuPy has one of this name too."""


def compiler() -> list[str]:
    """Return the command of the C++ compiler."""
    return shlex.split(os.environ.get("CXX", "g++"))


def available() -> bool:
    """Return whether kernels can be run here: the fibres and sections are those of Linux."""
    return sys.platform == "linux" and shutil.which(compiler()[0]) is not None


@cache
def _folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"cupy-double-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user")
    return folder


@cache
def _versions() -> str:
    command = [*compiler(), "--version"]
    version = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return version + (HERE / "device.h").read_text() + " ".join(FLAGS + RUNTIME_FLAGS)


@cache
def build(source: str, name: str, options: tuple[str, ...] = (), runtime: bool = False) -> Path:
    """Return the shared object compiled from `source`, made now or by any process before."""
    text = "\0".join([source, *options, _versions()])
    target = _folder() / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.so"
    if target.exists():
        return target
    # Several processes may build the same: each for itself, and the last one wins.
    with tempfile.TemporaryDirectory(dir=_folder()) as work:
        path, built = Path(work) / "kernel.cpp", Path(work) / "kernel.so"
        path.write_text(source)
        flags = RUNTIME_FLAGS if runtime else FLAGS
        command = [*compiler(), *flags, *options, f"-I{HERE}", str(path), "-o", str(built)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            message = done.stderr.replace(str(path), name)
            raise CompileException(f"kernel {name!r} does not compile:\n{message}")
        os.replace(built, target)
    return target


class Fault(ctypes.Structure):
    """Why a launch ended early."""

    _fields_ = (
        *((name, ctypes.c_ssize_t) for name in ("code", "where", "index", "size")),
        ("block", ctypes.c_ssize_t * 3),
        ("thread", ctypes.c_ssize_t * 3),
    )


@cache
def runtime() -> ctypes.CDLL:
    """Return the library that runs kernels; theirs find its symbols once it is loaded."""
    path = build((HERE / "runtime.cpp").read_text(), "runtime", runtime=True)
    library = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    size, pointer, number = ctypes.c_ssize_t, ctypes.c_void_p, ctypes.c_double
    library.cuda_run_loop.argtypes = [pointer, pointer, size, size, size, number, pointer]
    library.cuda_run_raw.argtypes = [pointer, pointer, number, pointer]
    library.cuda_fenced.argtypes, library.cuda_fenced.restype = [ctypes.c_size_t], pointer
    library.cuda_unfence.argtypes = [pointer, ctypes.c_size_t]
    return library


def load(source: str, name: str, options: tuple[str, ...] = ()) -> ctypes.CDLL:
    """Return the library compiled from `source`."""
    runtime()
    # Only what changes the meaning of a body is for this compiler; the rest is NVRTC's.
    kept = tuple(option for option in options if option.startswith(("-D", "-I", "--define-macro")))
    return ctypes.CDLL(str(build(source, name, kept)))
