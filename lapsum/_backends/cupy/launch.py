"""What all launches share: the makers of kernels, the text before each, blocks of a lane.

A kernel is a thread for each element, all lanes in one launch, unless it says otherwise.  Arrays
are (lanes, length), C-contiguous; raw ones are read at `lane * length + m`.  The formulas are those
of `laplace.h`, the very text that the CPU compiles.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import cupy

from ..types import Array


def text_of(name: str) -> str:
    """Return the text of a file of `src/`, which is installed with the package."""
    return files("lapsum").joinpath(name).read_text()


FORMULAS = text_of("laplace.h")
DEVICE = "\n" + text_of("device.cuh")

# Every operation is rounded, as on the CPU: where a*b + c is not, bits depend on the compiler.
OPTIONS = ("--fmad=false",)


def elementwise(name: str, inputs: str, outputs: str, body: str) -> Any:
    """Return the kernel whose threads run `body`, each for one element."""
    return cupy.ElementwiseKernel(
        inputs,
        outputs,
        body,
        f"lapsum_{name}",
        preamble=FORMULAS + DEVICE,
        options=OPTIONS,
    )


def reduction(name: str, inputs: str, mapped: str) -> Any:
    """Return the kernel for sums of what an expression of the inputs is at each element."""
    return cupy.ReductionKernel(
        inputs,
        "float64 total",
        mapped,
        "a + b",
        "total = a",
        "0",
        f"lapsum_{name}",
        preamble=FORMULAS + DEVICE,
        options=OPTIONS,
    )


def raw(name: str, *texts: str) -> Any:
    """Return the kernel of texts that begin with no more than the formulas."""
    return cupy.RawKernel("".join((FORMULAS, *texts)), name, options=OPTIONS)


def or_nothing(array: Array | None) -> Array:
    """Return `array`, or what a kernel takes in its place and does not look at."""
    nothing: Array = cupy.empty(1) if array is None else array
    return nothing


SHARED_LANE = 32_768  # entries from which on several blocks share a lane, if lanes are few
LEAST_ENTRIES = 2048  # of one block
MOST_BLOCKS = 256  # of one lane; what each leaves behind is read by all of the next launch
ALL_BLOCKS = 1024  # of a launch, enough for any device


def blocks_of(lanes: int, n: int) -> int:
    """Return how many blocks share a lane."""
    if n < SHARED_LANE or not lanes:
        return 1
    return max(1, min(n // LEAST_ENTRIES, MOST_BLOCKS, ALL_BLOCKS // lanes))
