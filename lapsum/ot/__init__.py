"""Ranks, sorts and top-k by entropic optimal transport on a line.

The entries are transported to ascending targets, at the least squared distance.  An entropy of
strength epsilon spreads each entry over several targets.  As epsilon tends to zero this sorts.

**Optimal transport**

========================  ===============================================================
`sinkhorn_rank`           ranks: the mean position of the targets of each entry
`sinkhorn_sort`           the entries in order: their mean at each target
`sinkhorn_quantile`       single quantiles
`sinkhorn_permute`        order one array by another
`SinkhornPlan`            the transport plan as a linear operator
`soft_topk`               SOFT top-k: the share of each entry at the upper one of two targets
`soft_topk_sorted`        to what extent each entry is the l-th largest, for l from 1 to k
========================  ===============================================================

Results are exact to rounding, and there is no number of iterations to choose.  `lapsum.linearize`,
`lapsum.jvp` and `lapsum.vjp` take these functions as they take all operators.  Arrays are NumPy's,
PyTorch's on the CPU, and JAX's.
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
