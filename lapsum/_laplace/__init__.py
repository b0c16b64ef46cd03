"""Sums of Laplace CDFs: sources, targets among them, and thresholds."""
