import os

# Before JAX is imported: two devices, for what is sharded.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
