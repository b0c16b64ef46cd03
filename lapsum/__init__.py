r"""Differentiable ranking, sorting, top-k, quantiles and permutations by sums of Laplace CDFs.

Every operator takes arrays and a scale alpha > 0 and returns arrays; as alpha tends to zero it
tends to the hard operator of the same name.

========================  ===============================================================
`lap_sum`                 sum of the Laplace CDFs of sources, at targets
`lap_sum_inv`             its inverse
`soft_rank`               ranks
`soft_sort`               the sorted array
`soft_topk`               to what extent each entry is among the k largest
`log_soft_topk`           its logarithm
`soft_quantile`           quantiles
`soft_trimmed_mean`       the mean between two quantiles
`soft_permutation`        the permutation matrix that sorts
`soft_permute`            its product with an array, without the matrix
`SoftPermutation`         the matrix as a linear operator
`linearize`               value, jvp, vjp and Jacobian of an operator at a point
`Linearization`           what `linearize` returns
`jvp`, `vjp`              the two in one call
``lapsum.ot``             ranks, sorts and top-k by entropic optimal transport
========================  ===============================================================

Arrays are NumPy's, or CuPy's on a GPU; what goes in comes out.
"""

from __future__ import annotations

from typing import Any

try:
    from . import _kernels
except ImportError as error:  # the source folder, first on the path, has no compiled kernels
    from pkgutil import extend_path

    __path__ = extend_path(__path__, __name__)[len(__path__) :]  # the installed package's alone
    try:
        from . import _kernels  # noqa: F401
    except ImportError:
        raise ImportError(
            "lapsum is imported from its source folder and is not installed; run `pip install .` "
            "there, and call `pytest` rather than `python -m pytest`"
        ) from error

from ._core.linearize import Linearization, jvp, linearize, vjp
from ._operators.lap_sum import lap_sum
from ._operators.lap_sum_inv import lap_sum_inv
from ._operators.log_soft_topk import log_soft_topk
from ._operators.permutation_operator import SoftPermutation
from ._operators.soft_permutation import soft_permutation
from ._operators.soft_permute import soft_permute
from ._operators.soft_quantile import soft_quantile
from ._operators.soft_rank import soft_rank
from ._operators.soft_sort import soft_sort
from ._operators.soft_topk import soft_topk
from ._operators.soft_trimmed_mean import soft_trimmed_mean

__all__ = [
    "Linearization",
    "SoftPermutation",
    "jvp",
    "lap_sum",
    "lap_sum_inv",
    "linearize",
    "log_soft_topk",
    "soft_permutation",
    "soft_permute",
    "soft_quantile",
    "soft_rank",
    "soft_sort",
    "soft_topk",
    "soft_trimmed_mean",
    "vjp",
]


def __getattr__(name: str) -> Any:
    if name == "ot":  # imported when it is asked for
        from importlib import import_module

        return import_module(".ot", __name__)
    if name == "__version__":
        from importlib.metadata import version

        return version("lapsum")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
