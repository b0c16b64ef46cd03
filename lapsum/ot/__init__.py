"""Ranks, sorts and top-k by entropic optimal transport on a line.

The sample is transported to ascending targets at the least squared distance, up to an entropy of
strength epsilon; as epsilon tends to zero, this sorts.
"""

from .ranks import sinkhorn_rank, sinkhorn_sort

__all__ = ["sinkhorn_rank", "sinkhorn_sort"]
