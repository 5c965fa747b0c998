"""How much a statement reads: what PostgreSQL itself reports after running it."""

from __future__ import annotations

import json
from typing import Any

from django.db import connection


def rows_read(sql: str, values: Any = None) -> int:
    """Rows that the statement took out of tables and indexes, those included that it then left out."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", values)
        (found,) = cursor.fetchone()
    plan = json.loads(found) if isinstance(found, str) else found
    return _read(plan[0]["Plan"])


def _read(node: dict[str, Any]) -> int:
    below = sum(_read(child) for child in node.get("Plans", []))
    if "Relation Name" not in node and "Index Name" not in node:
        return below
    left_out = sum(node.get(f"Rows Removed by {reason}", 0) for reason in ("Filter", "Index Recheck"))
    found: int = round((node["Actual Rows"] + left_out) * node["Actual Loops"])
    return below + found
