# The mode of this thread in which denormal numbers are what they are.

def keep_denormals():
    """Enter it, and return the mode before."""
    cdef uint64_t mode = lap_float_mode()
    lap_set_float_mode(mode & ~(<uint64_t> LAP_FLUSHED))
    return mode


def set_float_mode(uint64_t mode):
    """Go back to a mode that `keep_denormals` returned."""
    lap_set_float_mode(mode)
