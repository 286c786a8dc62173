"""Hide what pydicom warns and logs: it quotes values, such as names and dates of birth."""

import logging
import re
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

_LOCK = threading.RLock()
_VR = re.compile(r"VR '?([A-Z]{2})\b")


@contextmanager
def no_values_shown() -> Iterator[Counter[str]]:
    """Within, pydicom warns and logs nothing; yields the number of its warnings by VR, if any.

    Warning filters and loggers belong to the process, and are set here for the time of a read all
    the same: no application may find names of patients in its log because of this package.
    """
    found: Counter[str] = Counter()

    def hide(record: logging.LogRecord) -> bool:
        return False

    log = logging.getLogger("pydicom")
    with _LOCK, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        log.addFilter(hide)
        try:
            yield found
        finally:
            log.removeFilter(hide)
            for warning in caught:
                match = _VR.search(str(warning.message))
                found[match[1] if match else ""] += 1
