"""Values as JSON holds them, which has no NaN and no infinity."""

import math
from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """A value and all that is in it: NaN as null, infinities as text, keys as text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
