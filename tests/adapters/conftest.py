import os

# Before JAX is imported: two devices, for what is sharded; and what is compiled runs once.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0",
)


def pytest_collection_modifyitems(items):
    """Mute what PyTorch says of itself."""
    import pytest

    for text in (
        "`torch.jit.script:DeprecationWarning",
        "Attempted to insert a get_attr Node:UserWarning",
    ):
        for item in items:
            if "/adapters/" in str(item.path):
                item.add_marker(pytest.mark.filterwarnings(f"ignore:{text}"))
