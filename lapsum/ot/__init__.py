"""Ranks, sorts and top-k by entropic optimal transport on a line.

The sample is transported to ascending targets at the least squared distance, up to an entropy of
strength epsilon; as epsilon tends to zero, this sorts.

========================  ===============================================================
`sinkhorn_rank`           the mean level of the targets of each entry
`sinkhorn_sort`           the mean of the entries of each target
`sinkhorn_quantile`       the same at single levels
`sinkhorn_permute`        means of other values, both ways
`SinkhornPlan`            the plan as a linear operator
`soft_topk`               SOFT top-k: two targets
`soft_topk_sorted`        one target for each of the k positions
========================  ===============================================================

They are exact to rounding, and no number of iterations is to be chosen.  `lapsum.linearize`,
`lapsum.jvp` and `lapsum.vjp` take them as all operators.  Arrays are NumPy's, PyTorch's on
the CPU, and JAX's.
"""

from .permute import sinkhorn_permute
from .plan import SinkhornPlan
from .quantile import sinkhorn_quantile
from .ranks import sinkhorn_rank
from .sorts import sinkhorn_sort
from .topk import soft_topk
from .topk_sorted import soft_topk_sorted

__all__ = [
    "SinkhornPlan",
    "sinkhorn_permute",
    "sinkhorn_quantile",
    "sinkhorn_rank",
    "sinkhorn_sort",
    "soft_topk",
    "soft_topk_sorted",
]
