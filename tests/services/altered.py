"""JSON with some other value in one place, for readers that must not stumble over it."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Json = Any
_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def altered(value: Json, data: st.DataObject) -> Json:
    """A copy of ``value`` in which one place, drawn from ``data``, holds anything, or is gone."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    if not keys or data.draw(st.integers(0, 3)) == 0:
        return data.draw(_VALUES)
    key = data.draw(st.sampled_from(keys))
    copy = value.copy()
    if data.draw(st.integers(0, 3)) == 0:
        del copy[key]
    else:
        copy[key] = altered(value[key], data)
    return copy
