import pytest
from levels import BEST, LEVELS

from lapsum import _kernels


@pytest.fixture(params=LEVELS)
def level(request):
    _kernels.choose(request.param)
    yield request.param
    _kernels.choose(BEST)
