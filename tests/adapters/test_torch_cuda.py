"""Tensors on CUDA devices: by the double of CuPy as far as that goes, and on a GPU."""

from types import SimpleNamespace

import cupy_double
import numpy as np
import pytest
from calls import EVERY, call

import lapsum

torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra: torch)")

from lapsum._adapters.torch import cuda  # noqa: E402

NAMES = sorted(EVERY)


@pytest.fixture
def device(request, monkeypatch):
    """Where tensors are put: on the host, with CuPy's double in charge of them; or on a GPU."""
    if request.param == "cuda":
        pytest.importorskip("cupy", reason="CuPy is not installed")
        if not torch.cuda.is_available():
            pytest.skip("there is no CUDA device")
        yield "cuda"
        return
    if not cupy_double.available():
        pytest.skip("no C++ compiler")
    monkeypatch.setattr(cuda, "holds", lambda tensor: True)
    monkeypatch.setattr(cuda, "device_of", lambda array: torch.device("cpu"))
    stream = SimpleNamespace(cuda_stream=7, device_index=0)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    with cupy_double.installed():
        yield "cpu"


on_devices = pytest.mark.parametrize(
    "device", ["double", pytest.param("cuda", marks=pytest.mark.gpu)], indirect=True
)


def operator(name, rng, device, shape=(2, 5)):
    func, given = call(name, rng, shape, EVERY[name].weighted)
    given["alpha"] = 0.4
    names = tuple(given)
    tensors = [torch.tensor(np.asarray(v, float), device=device) for v in given.values()]
    return lambda *args: func(**dict(zip(names, args, strict=True))), tensors


@on_devices
@pytest.mark.parametrize("name", NAMES)
def test_values_and_derivatives(name, device, rng):
    func, tensors = operator(name, rng, device)
    hosts = [t.cpu().numpy() for t in tensors]
    expected = func(*hosts)
    y = func(*tensors)
    assert y.device == tensors[0].device
    np.testing.assert_allclose(y.cpu().numpy(), expected, rtol=1e-12, atol=1e-14)
    needs = [t.clone().requires_grad_() for t in tensors]
    bar = torch.tensor(rng.normal(size=y.shape), device=device)
    found = torch.autograd.grad(func(*needs), needs, bar)
    given = call(name, rng, (2, 5), EVERY[name].weighted)[1]
    lin = lapsum.linearize(getattr(lapsum, name), **dict(zip(given, hosts, strict=True)))
    by_name = dict(zip(lin.parameters, lin.vjp(bar.cpu().numpy()), strict=True))
    for parameter, grad in zip(given, found, strict=True):
        exact = by_name[parameter]
        np.testing.assert_allclose(grad.cpu().numpy(), exact, rtol=1e-10, atol=1e-12)
    _, dot = torch.func.jvp(func, tuple(tensors), tuple(tensors))
    dots = dict(zip(given, hosts, strict=True))
    exact = lin.jvp(*(dots[n] for n in lin.parameters))
    np.testing.assert_allclose(dot.cpu().numpy(), exact, rtol=1e-10, atol=1e-12)


@on_devices
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.int64])
def test_dtypes_and_strides(device, dtype, rng):
    x = torch.tensor(10 * rng.normal(size=(3, 8))).to(dtype).to(device)
    for given in (x, x.T, x[:, ::2]):
        y = lapsum.soft_rank(given, 0.5)
        assert y.dtype is (dtype if dtype.is_floating_point else torch.float64)
        exact = lapsum.soft_rank(given.cpu().double().numpy(), 0.5)
        rounded = torch.tensor(exact).to(torch.float32).to(dtype if y.dtype is dtype else y.dtype)
        torch.testing.assert_close(
            y.cpu(), rounded, rtol=1e-2 if y.dtype.itemsize < 4 else 1e-6, atol=1e-6
        )


@on_devices
def test_the_stream_is_torch_s_and_nothing_waits(device, rng, monkeypatch):
    import cupy

    entered = []
    stream = cupy.cuda.ExternalStream
    monkeypatch.setattr(
        cupy.cuda, "ExternalStream", lambda *args: entered.append(args) or stream(*args)
    )
    x = torch.tensor(rng.normal(size=(2, 40)), device=device, requires_grad=True)
    y = lapsum.soft_rank(x, 0.5)
    y.sum().backward()
    here = torch.cuda.current_stream(x.device)
    assert entered == 2 * [(here.cuda_stream, here.device_index)]
    if device == "cpu":
        with cupy_double.recording() as log:
            lapsum.soft_rank(x.detach(), 0.5)
        assert not log.syncs


@pytest.mark.gpu
def test_compiled(rng):
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    x = torch.tensor(rng.normal(size=(2, 300)), device="cuda", requires_grad=True)

    def topk(x):
        return lapsum.soft_topk(x, 3.0, 0.5)

    compiled = torch.compile(topk, fullgraph=True, backend="aot_eager")
    (found,) = torch.autograd.grad(compiled(x).pow(2).sum(), x)
    (expected,) = torch.autograd.grad(topk(x).pow(2).sum(), x)
    torch.testing.assert_close(found, expected)


def test_without_cupy(monkeypatch):
    monkeypatch.setattr(cuda, "holds", lambda tensor: True)
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)
    with pytest.raises(TypeError, match="`x` is a tensor on the device .* needs CuPy.*method cpu"):
        lapsum.soft_rank(torch.ones(3, dtype=torch.float16), 0.5)
