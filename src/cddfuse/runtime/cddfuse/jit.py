"""How functions are compiled: kernels, which Python calls, and the parts that they are made of.

The less Numba has to make of each, the sooner the first image is there: parts have no entry for
Python, and nothing has one for C.
"""

from functools import partial

import numpy as np
from numba import njit

# Constants of a NumPy type: Numba compiles a function anew for each literal that it is called with.
FIRST, YES, NO = np.intp(0), np.bool_(True), np.bool_(False)

kernel = partial(njit, nogil=True, cache=True, no_cfunc_wrapper=True)
part = partial(kernel, no_cpython_wrapper=True)
"""For functions that only compiled ones call: called from Python, they end the process."""
