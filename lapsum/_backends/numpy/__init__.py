"""The kernels for NumPy arrays."""
