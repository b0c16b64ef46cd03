r"""Differentiable ranking, sorting, top-k, quantiles and permutations by sums of Laplace CDFs.

Every operator takes arrays and a scale `alpha` > 0, and returns arrays.  As alpha tends to zero its
results tend to those of the hard operator: `soft_sort` to a sort, and so on.

**Order operators**

========================  ===============================================================
`soft_rank`               ranks of the entries
`soft_sort`               the entries in ascending or descending order
`soft_topk`               to what extent each entry is among the k largest
`log_soft_topk`           the logarithm of `soft_topk`, accurate where that is tiny
========================  ===============================================================

**Quantiles and means**

========================  ===============================================================
`soft_quantile`           quantiles, the median among them
`soft_trimmed_mean`       the mean of the entries between two quantiles
========================  ===============================================================

**Permutations**

========================  ===============================================================
`soft_permute`            order one array by another
`soft_permutation`        the permutation matrix that sorts
`SoftPermutation`         the same matrix as a linear operator, in O(n) memory
========================  ===============================================================

**Sums**

========================  ===============================================================
`lap_sum`                 how many entries lie below a point, softly
`lap_sum_inv`             the point below which a given number of entries lie
`cdf_sum`                 `lap_sum` for any density that is symmetric about zero
`cdf_sum_inv`             `lap_sum_inv` for any density that is symmetric about zero
========================  ===============================================================

**Derivatives**

========================  ===============================================================
`vjp`                     a value, and the function that pulls gradients back (reverse mode)
`jvp`                     a value, and its derivative in one direction (forward mode)
`linearize`               a value with both, and the Jacobian as a linear operator
`Linearization`           a value with its derivatives at a point, made by `linearize`
========================  ===============================================================

**Densities**

========================  ===============================================================
`StudentT`                Student's t density, for ``density=``
`Density`                 a density of your own, for ``density=``
========================  ===============================================================

**Optimal transport**

========================  ===============================================================
`lapsum.ot`               ranks, sorts and top-k by entropic optimal transport
========================  ===============================================================

Ranks, sorts, top-k, quantiles, trimmed means and permutations take ``density=``: "logistic",
"normal" or another density in place of the Laplace one.

Arrays are NumPy's, CuPy's on a GPU, PyTorch's or JAX's.  What goes in comes out, on the autograd
graph of its library if that has one.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if find_spec(f"{__name__}._kernels") is None:
    from importlib.machinery import PathFinder
    from pathlib import Path
    from pkgutil import extend_path
    from sys import implementation

    # Compiled kernels that this Python does not look at are another's; none at all are what a
    # source folder has, which stands first on the path of `python -m`: the installed copy is meant.
    others = [
        path.name
        for path in Path(__file__).parent.glob("_kernels.*")
        if path.suffix in (".so", ".pyd")
    ]
    if others:
        raise ImportError(
            f"lapsum was compiled for another Python: {', '.join(others)}, and this is "
            f"{implementation.cache_tag}; install it for this one"
        )
    broken = None if (Path(__file__).parents[1] / "meson.build").exists() else __path__[0]
    if broken is None:
        __path__ = extend_path(__path__, __name__)[len(__path__) :]
        if __path__ and PathFinder.find_spec(f"{__name__}._kernels", __path__[:1]) is None:
            broken = __path__[0]
    if broken is not None:
        raise ImportError(
            f"the copy of lapsum in {broken} has no compiled kernels; install it again"
        )
    if find_spec(f"{__name__}._kernels") is None:
        raise ImportError(
            "lapsum is imported from its source folder and is not installed; run `pip install .` "
            "there, and call `pytest` rather than `python -m pytest`"
        )

from . import _adapters, _kernels  # noqa: F401  # a broken copy says so itself

if TYPE_CHECKING:
    from . import ot as ot
    from ._core.linearization import Linearization
    from ._core.linearize import jvp, linearize, vjp
    from ._general.own_density import Density
    from ._general.student import StudentT
    from ._operators.cdf_sum import cdf_sum
    from ._operators.cdf_sum_inv import cdf_sum_inv
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
    "Density",
    "Linearization",
    "SoftPermutation",
    "StudentT",
    "cdf_sum",
    "cdf_sum_inv",
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

# Names are imported when they are asked for; the module of an operator has its name.
_MODULES = {
    "Density": "_general.own_density",
    "Linearization": "_core.linearization",
    "SoftPermutation": "_operators.permutation_operator",
    "StudentT": "_general.student",
    "jvp": "_core.linearize",
    "linearize": "_core.linearize",
    "vjp": "_core.linearize",
}


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in __all__:
        module = import_module(f".{_MODULES.get(name, f'_operators.{name}')}", __name__)
        globals()[name] = value = getattr(module, name)
        return value
    if name == "ot":
        return import_module(".ot", __name__)
    if name == "__version__":
        from importlib.metadata import version

        return version("lapsum")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
