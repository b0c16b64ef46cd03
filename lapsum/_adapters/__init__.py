"""Arrays of libraries that differentiate by themselves: to lapsum's own arrays and back."""

from __future__ import annotations

from typing import Any


def load(name: str) -> Any:
    """Return an adapter, imported now."""
    # By statements: torch.compile, in which the first tensor may come, does not follow importlib.
    if name == "torch":
        from .torch import eager

        return eager
    from .jax import entry

    return entry
