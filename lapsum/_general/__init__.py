"""Any even density: the same operators with another CDF than Laplace's."""
