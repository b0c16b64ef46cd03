"""An XLA FFI handler for the CPU without a compiler: the structures of XLA's C interface by ctypes.

`register` tells XLA of `handler`, which hands views of XLA's own buffers to `HOST`.  The layout of
the structures is that of version 0 of the interface (`xla/ffi/api/c_api.h`), which grows at the end
only; the fields used here have not moved since its first release.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import POINTER, Structure, c_char_p, c_int, c_int64, c_size_t, c_uint32, c_void_p
from math import prod
from typing import Any

import numpy as np

from ..._backends.types import Array

METADATA, EXECUTE, INVALID_ARGUMENT = 1, 3, 3
DTYPES = {
    1: np.dtype(np.bool_),
    2: np.dtype(np.int8),
    3: np.dtype(np.int16),
    4: np.dtype(np.int32),
    5: np.dtype(np.int64),
    6: np.dtype(np.uint8),
    7: np.dtype(np.uint16),
    8: np.dtype(np.uint32),
    9: np.dtype(np.uint64),
    10: np.dtype(np.float16),
    11: np.dtype(np.float32),
    12: np.dtype(np.float64),
}
BFLOAT16 = 16


class Extension(Structure):
    """XLA_FFI_Extension_Base."""


Extension._fields_ = [
    ("struct_size", c_size_t),
    ("type", c_int),
    ("next", POINTER(Extension)),
]


class Version(Structure):
    """XLA_FFI_Api_Version."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("extension", c_void_p),
        ("major", c_int),
        ("minor", c_int),
    ]


class Metadata(Structure):
    """XLA_FFI_Metadata, but for what handlers with state add."""

    _fields_ = [("struct_size", c_size_t), ("version", Version), ("traits", c_uint32)]


class MetadataExtension(Structure):
    """XLA_FFI_Metadata_Extension."""

    _fields_ = [("base", Extension), ("metadata", POINTER(Metadata))]


class Buffer(Structure):
    """XLA_FFI_Buffer."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("extension", c_void_p),
        ("dtype", c_int),
        ("data", c_void_p),
        ("rank", c_int64),
        ("dims", POINTER(c_int64)),
    ]


class Buffers(Structure):
    """XLA_FFI_Args and XLA_FFI_Rets."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("extension", c_void_p),
        ("size", c_int64),
        ("types", c_void_p),
        ("items", POINTER(POINTER(Buffer))),
    ]


class Span(Structure):
    """XLA_FFI_ByteSpan."""

    _fields_ = [("pointer", c_void_p), ("length", c_size_t)]


class Attributes(Structure):
    """XLA_FFI_Attrs."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("extension", c_void_p),
        ("size", c_int64),
        ("types", c_void_p),
        ("names", POINTER(POINTER(Span))),
        ("values", POINTER(POINTER(Span))),
    ]


class Error(Structure):
    """XLA_FFI_Error_Create_Args."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("extension", c_void_p),
        ("message", c_char_p),
        ("code", c_int),
    ]


class Api(Structure):
    """The head of XLA_FFI_Api."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("extension", c_void_p),
        ("version", Version),
        ("internal", c_void_p),
        ("create_error", ctypes.CFUNCTYPE(c_void_p, POINTER(Error))),
    ]


class Frame(Structure):
    """The head of XLA_FFI_CallFrame."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("extension", POINTER(Extension)),
        ("api", POINTER(Api)),
        ("context", c_void_p),
        ("stage", c_int),
        ("args", Buffers),
        ("results", Buffers),
        ("attributes", Attributes),
    ]


# What runs: a text that says what, the arguments, and where the results go.
Host = Callable[[str, list[Array], list[Array]], None]
HOST: list[Host] = []


def _view(buffer: Buffer, writeable: bool) -> Array:
    """Return the memory of a buffer as an array."""
    shape, dtype = tuple(buffer.dims[: buffer.rank]) if buffer.rank else (), DTYPES[buffer.dtype]
    count = prod(shape)
    if not count:
        return np.empty(shape, dtype)
    memory = (ctypes.c_char * (count * dtype.itemsize)).from_address(buffer.data)
    array: Array = np.frombuffer(memory, dtype).reshape(shape)
    array.flags.writeable = writeable
    return array


def _text(span: Span) -> str:
    return ctypes.string_at(span.pointer, span.length).decode()


def _answer(pointer: Any) -> int | None:
    """Answer XLA: what this is, or the results of a call."""
    frame = pointer.contents
    extension = frame.extension
    while extension:
        if extension.contents.type == METADATA:
            metadata = ctypes.cast(extension, POINTER(MetadataExtension)).contents.metadata.contents
            version = frame.api.contents.version  # the one that XLA has: all of them do
            metadata.version.major, metadata.version.minor = version.major, version.minor
            metadata.traits = 0
            return None
        extension = extension.contents.next
    if frame.stage != EXECUTE:
        return None
    try:
        attributes = frame.attributes
        text = next(
            _text(attributes.values[i].contents)
            for i in range(attributes.size)
            if _text(attributes.names[i].contents) == "call"
        )
        args = [_view(frame.args.items[i].contents, False) for i in range(frame.args.size)]
        results = [_view(frame.results.items[i].contents, True) for i in range(frame.results.size)]
        HOST[0](text, args, results)
    except BaseException as error:  # whatever it is, XLA gets it: nothing may pass through C++
        message = f"{type(error).__name__}: {error}".encode()
        what = Error(ctypes.sizeof(Error), None, message, INVALID_ARGUMENT)
        found: int | None = frame.api.contents.create_error(ctypes.byref(what))
        return found
    return None


handler = ctypes.CFUNCTYPE(c_void_p, POINTER(Frame))(_answer)


def register(jax_ffi: Any, name: str, host: Host) -> bool:
    """Register the handler under a name, and return whether XLA takes it."""
    try:
        import ml_dtypes

        DTYPES[BFLOAT16] = np.dtype(ml_dtypes.bfloat16)
        HOST[:] = [host]
        jax_ffi.register_ffi_target(name, jax_ffi.pycapsule(handler), platform="cpu")
    except Exception:  # another version of the interface, another Python: see the fallback
        return False
    return True
