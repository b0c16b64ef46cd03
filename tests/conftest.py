import contract  # noqa: F401  (before the operators' tests, which it imports)
import cupy_double
import numpy as np
import pytest


@pytest.fixture
def rng():
    return np.random.default_rng(20250713)


@pytest.fixture
def cupy():
    """The double of CuPy, in the place of the real one."""
    if not cupy_double.available():
        pytest.skip("needs Linux and a C++ compiler")
    with cupy_double.installed() as module:
        yield module
