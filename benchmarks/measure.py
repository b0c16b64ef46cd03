"""How every benchmark here takes time and memory.

Import it before NumPy: it sets one thread.
"""

import ctypes
import datetime
import gc
import importlib.metadata
import os
import platform
import time

for _name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM"):
    os.environ[f"{_name}_NUM_THREADS"] = "1"

import numpy as np  # noqa: E402

SHORTEST = 2e-3  # seconds: a call that takes less is repeated within one sample


def allocate(pages):
    """Choose where large arrays come from, which alone moves np.exp of 8 MB by a factor of three.

    "fresh": every large array is new pages from the system; "warm": freed memory is kept and used
    again; "default": glibc decides as it goes.  Linux with glibc only, elsewhere without effect.
    """
    thresholds = {"default": None, "fresh": (2**17, 2**17), "warm": (2**25, 2**31 - 1)}[pages]
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if thresholds and mallopt:
        mallopt(-3, thresholds[0])  # M_MMAP_THRESHOLD
        mallopt(-1, thresholds[1])  # M_TRIM_THRESHOLD


def seconds(call, prepare=tuple, repeats=1):
    """Wall time of ``call(*prepare())``, freeing its result included, `prepare` not."""
    arguments = prepare()
    start = time.perf_counter()
    for _ in range(repeats):
        call(*arguments)
    return (time.perf_counter() - start) / repeats


def in_turns(*calls, runs=9):
    """Seconds of every call, shape (len(calls), runs), taken in turns: a b a b ...

    What else the machine does then falls on all of them alike.  A call is a function, or a pair
    (function, prepare).  Each is warmed up by two runs, long ones by one.
    """
    calls = [call if isinstance(call, tuple) else (call,) for call in calls]
    first = [seconds(*call) for call in calls]
    first = [s if s > 0.1 else seconds(*call) for call, s in zip(calls, first, strict=True)]
    repeats = [
        max(1, round(SHORTEST / s)) if len(call) == 1 else 1
        for call, s in zip(calls, first, strict=True)
    ]
    gc.collect()
    gc.disable()
    try:
        turns = [
            [seconds(*call, repeats=r) for call, r in zip(calls, repeats, strict=True)]
            for _ in range(runs)
        ]
    finally:
        gc.enable()
    return np.transpose(turns)


def ratio(samples, yardstick):
    """Median over the turns of one time over the other in the same turn."""
    return float(np.median(samples / yardstick))


def peak_memory(call):
    """Bytes by which resident memory rises above its start while `call()` runs, result included.

    It counts what C libraries allocate too.  What was freed before is first given back to the
    system, so that it is counted again when it is used again.  Linux with glibc only, else NaN.
    """
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # the high-water mark starts again from here
        before = _resident("VmRSS")
    except (AttributeError, OSError, TypeError):
        return float("nan")
    result = call()
    peak = _resident("VmHWM") - before
    del result
    return max(peak, 0)


def _resident(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))


def processor():
    """Name of the processor."""
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def machine():
    """When and where something is measured: the head of every record."""
    return {
        "date": datetime.date.today().isoformat(),
        "processor": processor(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "lapsum": importlib.metadata.version("lapsum"),
    }
