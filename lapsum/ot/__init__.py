"""Ranks, sorts and top-k by entropic optimal transport on a line.

The sample is transported to ascending targets at the least squared distance, up to an entropy of
strength epsilon; as epsilon tends to zero, this sorts.
"""

from .permute import sinkhorn_permute
from .plan import SinkhornPlan
from .quantile import sinkhorn_quantile
from .ranks import sinkhorn_rank, sinkhorn_sort
from .topk import soft_topk, soft_topk_sorted

__all__ = [
    "SinkhornPlan",
    "sinkhorn_permute",
    "sinkhorn_quantile",
    "sinkhorn_rank",
    "sinkhorn_sort",
    "soft_topk",
    "soft_topk_sorted",
]
