"""Refuses an upload that is too large before its first byte is stored, and has its reader started meanwhile."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadhandler import FileUploadHandler

from labeling.imports import reader_process

FORM_BYTES = 64 * 1024  # of the other fields


class SizeLimit(FileUploadHandler):
    """First in FILE_UPLOAD_HANDLERS; passes the data on to the next handler."""

    def handle_raw_input(
        self, input_data: Any, META: Any, content_length: int, boundary: Any, encoding: Any = None
    ) -> None:
        self.left = settings.IMPORT_MAX_UPLOAD_MB * 1024 * 1024 + FORM_BYTES
        self._spend(content_length)
        self.left += content_length
        reader_process.get_ready()  # another web process may have shown the form

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        self._spend(len(raw_data))
        return raw_data

    def file_complete(self, file_size: int) -> None:
        return None

    def _spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise RequestDataTooBig(
                f"The file is larger than {settings.IMPORT_MAX_UPLOAD_MB:,} MB. Split it, compress it, or import it "
                "on the server with manage.py import_tweets."
            )
