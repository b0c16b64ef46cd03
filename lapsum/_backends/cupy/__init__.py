"""The kernels for CuPy arrays."""
