"""Speed on a GPU: ``python benchmarks/gpu.py`` where CuPy finds one.

Prints, for each call, its time, the bandwidth at which what it must read and write goes through
(the arguments once and the results once), that as a share of the device's own bandwidth, and the
ratio to ``cupy.sort`` and to ``cupy.exp`` of the same array in the same run.
"""

import argparse
import sys
from math import prod

SHAPES = ((100_000,), (1_000_000,), (10_000_000,), (500, 10_450), (128, 1000))


def calls(lapsum, cupy, x):
    """What is measured: (name, call, arrays that must be read or written once)."""
    n = x.shape[-1]
    v = cupy.cos(cupy.arange(x.size, dtype=x.dtype)).reshape(x.shape)
    topk = lapsum.linearize(lapsum.soft_topk, x, n // 2, 0.1)
    rank = lapsum.linearize(lapsum.soft_rank, x, 0.1)
    sort = lapsum.linearize(lapsum.soft_sort, x, 0.1)
    return (
        ("soft_topk", lambda: lapsum.soft_topk(x, n // 2, 0.1), 2),
        ("its vjp", lambda: topk.vjp(v), 3),
        ("soft_quantile", lambda: lapsum.soft_quantile(x, 0.5, 0.1), 1),
        ("soft_rank", lambda: lapsum.soft_rank(x, 0.1), 2),
        ("its vjp", lambda: rank.vjp(v), 3),
        ("soft_sort", lambda: lapsum.soft_sort(x, 0.1), 2),
        ("its vjp", lambda: sort.vjp(v), 3),
        ("soft_permute", lambda: lapsum.soft_permute(x, v, 0.1), 3),
        ("cupy.sort", lambda: cupy.sort(x), 2),
        ("cupy.exp", lambda: cupy.exp(x), 2),
    )


def bandwidth_of(cupy):
    """Bytes a second of the memory of the current device, as its clock and bus promise."""
    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    clock = properties.get("memoryClockRate", 0) * 1e3  # kHz; two transfers a cycle
    return properties["name"].decode(), 2 * clock * properties.get("memoryBusWidth", 0) / 8


def median_time(benchmark, call):
    """Seconds on the device."""
    return float(sorted(benchmark(call, n_repeat=20, n_warmup=5).gpu_times.ravel())[10])


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float64")
    options = parser.parse_args()
    try:
        import cupy
        from cupyx.profiler import benchmark
    except ImportError as error:
        sys.exit(f"CuPy is not installed: {error}")
    if not cupy.cuda.is_available():
        sys.exit("CuPy finds no CUDA device")
    import lapsum

    name, limit = bandwidth_of(cupy)
    print(f"{name}, {limit / 1e9:.0f} GB/s, CuPy {cupy.__version__}, {options.dtype}\n")
    print("| array | call | time | GB/s | of the limit | cupy.sort | cupy.exp |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for shape in SHAPES:
        x = cupy.random.default_rng(0).standard_normal(prod(shape), dtype=options.dtype)
        measured = calls(lapsum, cupy, x.reshape(shape))
        times = [median_time(benchmark, call) for _, call, _ in measured]
        for (label, _, arrays), time in zip(measured, times, strict=True):
            rate = arrays * x.nbytes / time
            share = f"{100 * rate / limit:.0f} %" if limit else "unknown"
            print(
                f"| {' x '.join(map(str, shape))} | {label} | {time * 1e6:.0f} us "
                f"| {rate / 1e9:.0f} | {share} | {time / times[-2]:.2f} | {time / times[-1]:.2f} |"
            )


if __name__ == "__main__":
    main()
