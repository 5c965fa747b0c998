"""What the migrations leave in the database, where a mistake would cost disk and time and break nothing."""

from __future__ import annotations

import pytest
from django.db import connection

pytestmark = pytest.mark.django_db


def rows(sql: str) -> list[tuple]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


def test_no_index_begins_another_one():
    """Of whole tables, by b-tree: the narrower one of the two is written with every row and read by nobody."""
    found = rows("""
        SELECT narrow.indexrelid::regclass::text, wide.indexrelid::regclass::text
        FROM pg_index narrow
        JOIN pg_index wide ON wide.indrelid = narrow.indrelid AND wide.indexrelid <> narrow.indexrelid
        JOIN pg_class n ON n.oid = narrow.indexrelid JOIN pg_class w ON w.oid = wide.indexrelid
        JOIN pg_am ON pg_am.oid = n.relam AND pg_am.oid = w.relam AND amname = 'btree'
        WHERE narrow.indrelid::regclass::text LIKE 'labeling_%' AND NOT narrow.indisunique
          AND coalesce(narrow.indpred, narrow.indexprs, wide.indpred, wide.indexprs) IS NULL
          AND wide.indkey::text || ' ' LIKE narrow.indkey::text || ' %'
          AND wide.indclass::text || ' ' LIKE narrow.indclass::text || ' %'
          AND wide.indoption::text || ' ' LIKE narrow.indoption::text || ' %'
    """)
    assert found == []


def test_a_tweets_numbers_come_before_its_texts():
    """In another order PostgreSQL fills gaps in every row: 160 MB at 20 million."""
    widths = [
        width
        for (width,) in rows(
            "SELECT attlen FROM pg_attribute WHERE attrelid = 'labeling_tweet'::regclass AND attnum > 0"
            " AND attname NOT IN ('group_hash', 'search_segment') ORDER BY attnum"
        )
    ]
    fixed = [width for width in widths if width > 0]
    assert widths == [*fixed, -1, -1]
    aligned = [width for width in fixed if width <= 8]
    assert aligned == sorted(aligned, reverse=True)
