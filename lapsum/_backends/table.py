"""The types of arrays that operators take: one row for each library."""

from __future__ import annotations

from typing import NamedTuple


class ArrayType(NamedTuple):
    """One type of array.

    Attributes
    ----------
    library, name : str
        Where the type is found, once the library has been imported.
    kernels : str
        The module of `lapsum._backends` with its kernels, imported when such an array comes.  Its
        `kernels_of` returns them for the arrays of a call and a number of workers.
    where : str
        Where its kernels run.
    """

    library: str
    name: str
    kernels: str
    where: str


NUMPY = ArrayType("numpy", "ndarray", "numpy.kernels", "CPU")
OTHERS = (ArrayType("cupy", "ndarray", "cupy.kernels", "GPU"),)
TABLE = (NUMPY, *OTHERS)
