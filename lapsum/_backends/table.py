"""The types of arrays that operators take: one row for each library.

Some have kernels here.  Those of others go through an adapter to NumPy's, and derivatives by the
library's own means.
"""

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


class AdaptedType(NamedTuple):
    """One type of array that an adapter takes.

    Attributes
    ----------
    library, name : str
        Where the type is found, once the library has been imported.
    bases : tuple of (str, str)
        Package and name of types of which each such array's is one, or is derived from one: looked
        up without importing anything.
    adapter : str
        What `lapsum._adapters` loads when such an array comes.  Its `evaluate` takes an operator's
        rule and arguments.
    derivatives : str
        What gives derivatives there, for errors.
    where : str
        Where the operators run.
    """

    library: str
    name: str
    bases: tuple[tuple[str, str], ...]
    adapter: str
    derivatives: str
    where: str


NUMPY = ArrayType("numpy", "ndarray", "numpy.kernels", "CPU")
OTHERS = (ArrayType("cupy", "ndarray", "cupy.kernels", "GPU"),)
ADAPTED = (
    AdaptedType(
        "torch",
        "Tensor",
        (("torch", "Tensor"),),
        "torch",
        "backward(), torch.autograd or torch.func",
        "CPU; with CuPy also GPU",
    ),
    AdaptedType(
        "jax",
        "Array",
        (("jaxlib", "ArrayImpl"), ("jax", "Array"), ("jax", "Tracer")),
        "jax",
        "jax.grad, jax.vjp, jax.jvp or jax.linearize",
        "CPU",
    ),
)
TABLE = (NUMPY, *OTHERS, *ADAPTED)
