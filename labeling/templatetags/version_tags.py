"""How the model pages write figures."""

from __future__ import annotations

from typing import Any

from django import template

register = template.Library()


@register.filter
def figure(value: float | str | None, digits: int = 3) -> str:
    """0.87312 → '0.873'; None, an undefined figure, or nothing at all → '–', never 0."""
    return "–" if value is None or isinstance(value, str) else f"{value:.{digits}f}"


@register.filter
def signed(value: float | None) -> str:
    """A difference: '+0.012', '−0.034', '±0'. None → '–'."""
    if value is None:
        return "–"
    if abs(value) < 0.0005:
        return "±0"
    return f"{value:+.3f}".replace("-", "−")


@register.filter
def get(mapping: dict[Any, Any] | None, key: Any) -> Any:
    """A value by a key that a template cannot spell with a dot; None where there is none."""
    return mapping.get(key) if mapping else None


@register.simple_tag
def difference(comparison: Any, name: str) -> float | None:
    """Of a labeling.versions.Comparison: the later version's figure less the earlier one's."""
    value: float | None = comparison.difference(name)
    return value
