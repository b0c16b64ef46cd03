# Tasks shared among threads: parts of one long lane, or several lanes.

cdef struct _threads:
    lap_runner runner
    Py_ssize_t workers


cdef class _Work:
    """Tasks to be done once each; every call does those that nobody has begun."""

    cdef lap_task task
    cdef void *context
    cdef ptrdiff_t tasks, begun, done
    cdef PyThread_type_lock counts, unfinished

    def __cinit__(self):
        self.begun = self.done = 0
        self.counts = PyThread_allocate_lock()
        self.unfinished = PyThread_allocate_lock()
        if self.counts is NULL or self.unfinished is NULL:
            raise MemoryError
        PyThread_acquire_lock(self.unfinished, WAIT_LOCK)

    def __dealloc__(self):
        if self.counts is not NULL:
            PyThread_free_lock(self.counts)
        if self.unfinished is not NULL:
            PyThread_free_lock(self.unfinished)

    def __call__(self):
        with nogil:
            self.work()

    cdef void work(self) noexcept nogil:
        cdef ptrdiff_t i, done
        while True:
            PyThread_acquire_lock(self.counts, WAIT_LOCK)
            i = self.begun
            self.begun += i < self.tasks
            PyThread_release_lock(self.counts)
            if i >= self.tasks:
                return
            self.task(self.context, i)
            PyThread_acquire_lock(self.counts, WAIT_LOCK)
            self.done += 1
            done = self.done
            PyThread_release_lock(self.counts)
            if done == self.tasks:
                PyThread_release_lock(self.unfinished)


cdef void _share(
    lap_task task, void *context, ptrdiff_t tasks, Py_ssize_t workers
) noexcept with gil:
    """Do all tasks, in this thread and in others.

    What they write to may end with the caller, so none is left when this returns.  Nothing here is
    Python code, which signals such as Ctrl-C could interrupt, and what cannot be had, memory or
    threads, is not needed.
    """
    cdef Py_ssize_t i
    cdef _Work work
    try:
        work = _Work()
        work.task, work.context, work.tasks = task, context, tasks
        for i in range(min(workers, tasks) - 1):
            start_new_thread(work, ())
    except BaseException:
        pass
    if work is None:
        for i in range(tasks):
            task(context, i)
        return
    with nogil:
        work.work()
        PyThread_acquire_lock(work.unfinished, WAIT_LOCK)
        PyThread_release_lock(work.unfinished)


cdef class _Lanes:
    """Lanes that a kernel works on, in parts."""

    cdef object kernel
    cdef tuple args
    cdef Py_ssize_t lanes, parts
    cdef list errors


cdef void _some_lanes(void *context, ptrdiff_t i) noexcept with gil:
    cdef _Lanes all = <_Lanes>context
    try:
        all.kernel(*all.args, all.lanes * i // all.parts, all.lanes * (i + 1) // all.parts)
    except BaseException as error:
        all.errors.append(error)


def run_lanes(kernel, tuple args, Py_ssize_t lanes, Py_ssize_t workers):
    """Call kernel(*args, start, stop) in so many threads, for as many parts of the lanes."""
    cdef _Lanes all = _Lanes()
    all.kernel, all.args, all.lanes, all.parts, all.errors = kernel, args, lanes, workers, []
    _share(_some_lanes, <void*>all, workers, workers)
    if all.errors:
        raise all.errors[0]


cdef void _run_parts(
    const lap_runner *runner, lap_task task, void *context, ptrdiff_t tasks
) noexcept nogil:
    _share(task, context, tasks, (<_threads*>runner).workers)


cdef inline const lap_runner *_runner(_threads *threads, Py_ssize_t workers) noexcept nogil:
    """What shares the parts of a lane among threads, or NULL for one."""
    if workers == 1:
        return NULL
    threads.runner.run = _run_parts
    threads.workers = workers
    return &threads.runner
