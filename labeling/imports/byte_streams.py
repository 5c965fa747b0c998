"""From the bytes of a file to lines of text: unpacked within limits, in UTF-8, counted."""

from __future__ import annotations

import codecs
import io
import tempfile
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from typing import IO, Any, Protocol, cast

import zstandard

from labeling.imports.sheets import MIB, BadRow, Limits, UnreadableFileError

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class Bytes(Protocol):
    def read1(self, size: int, /) -> bytes: ...


class Counted(io.RawIOBase):
    """Counts the bytes that come out of the file itself."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.stream.read(len(buffer)) or b""
        buffer[: len(data)] = data
        self.count += len(data)
        return len(data)


class Guarded(io.RawIOBase):
    """Unpacked bytes. Stops a file that unpacks to absurdly more than it holds."""

    def __init__(self, unpacked: Any, packed: Counted, limits: Limits) -> None:
        self.unpacked, self.packed, self.limits = unpacked, packed, limits
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self.unpacked.read1(len(buffer)) or b""  # what there is, before the damage is met
        except (EOFError, OSError, zlib.error, zstandard.ZstdError) as error:
            raise UnreadableFileError("The compressed file is damaged or cut off. Pack it again.") from error
        buffer[: len(data)] = data
        self.count += len(data)
        if self.count > self.limits.grace_bytes and self.count > self.limits.ratio * self.packed.count:
            raise UnreadableFileError(
                f"The compressed file unpacks to more than {self.limits.ratio} times its size, which texts "
                "never do. Unpack it yourself if you trust it."
            )
        return len(data)


class Unzstd:
    """Frames of zstd, one after another. zstandard's own reader takes a file that is cut off for a whole one."""

    PIECE = 512  # packed bytes at once, which unpack to 16 MiB at the very most

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.frame: Any = None
        self.rest = b""

    def read1(self, size: int) -> bytes:
        while not self.rest:
            piece = self.frame.unused_data if self.frame and self.frame.eof else b""
            piece = piece or self.stream.read(self.PIECE)
            if not piece:
                if self.frame and not self.frame.eof:
                    raise EOFError("in the middle of a frame")
                break
            if self.frame is None or self.frame.eof:
                # The window bounds the memory that a frame may ask for; 128 MiB is what `zstd --long` writes.
                self.frame = zstandard.ZstdDecompressor(max_window_size=128 * MIB).decompressobj()
            self.rest += self.frame.decompress(piece)
        data, self.rest = self.rest[:size], self.rest[size:]
        return data


def head_of(stream: io.BufferedReader, length: int) -> bytes:
    return stream.peek(length)[:length]


def seekable(buffered: IO[bytes], stream: IO[bytes], packed: bytes, limits: Limits) -> IO[bytes]:
    """The file itself when it can seek, else a copy in an unnamed temporary file."""
    if not packed.startswith((GZIP, ZSTD)) and stream.seekable():
        stream.seek(0)
        return stream
    # The caller closes it by ending: the copy lives as long as the sheet that reads it.
    copy = tempfile.TemporaryFile()  # noqa: SIM115
    while chunk := buffered.read(MIB):
        copy.write(chunk)
    copy.seek(0)
    return cast("IO[bytes]", copy)


def as_utf8(stream: io.BufferedReader) -> Bytes:
    """UTF-8 with or without a mark, UTF-16 with one."""
    head = head_of(stream, 4)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _Utf16(stream)
    if b"\0" in head:
        raise UnreadableFileError(
            "This is not a text file, or it is UTF-16 without a byte order mark. Save it as UTF-8."
        )
    if head.startswith(codecs.BOM_UTF8):
        stream.read(len(codecs.BOM_UTF8))
    return stream


class _Utf16:
    """UTF-16 made UTF-8; what is broken becomes the replacement character."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self.stream = stream
        self.decoder = codecs.getincrementaldecoder("utf-16")("replace")

    def read1(self, size: int) -> bytes:
        while piece := self.stream.read1(size):
            if text := self.decoder.decode(piece):
                return text.encode()
        return self.decoder.decode(b"", final=True).encode()


Line = tuple[int, str]  # its number and its words


class Lines:
    """Lines of bounded length, each with its line break. Overlong lines are skipped and noted in `bad`.

    Broken UTF-8 becomes lone surrogates, found later. Damage is raised after the last whole line before it.
    """

    def __init__(self, stream: Bytes, limit: int) -> None:
        self.stream, self.limit = stream, limit
        self.number = 0  # of the line given last
        self.bad: list[BadRow] = []
        self._read_to = 0  # of the line read last
        self._given_back: deque[Line] = deque()
        self._overlong = b""  # the beginning of a line whose rest is being skipped
        self._damage: UnreadableFileError | None = None
        self._buffer, self._at = b"", 0
        self._fill(64 * 1024)
        self._break = b"\r" if b"\r" in self._buffer and b"\n" not in self._buffer else b"\n"

    def first_visible_character(self) -> str:
        return self._buffer.decode(errors="ignore").lstrip()[:1]

    def give_back(self, lines: Sequence[Line]) -> None:
        """Read these lines again, next."""
        self._given_back.extendleft(reversed(lines))

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._given_back:
            self.number, line = self._given_back.popleft()
            return line
        while True:
            line = self._whole_line().decode(errors="surrogateescape")
            self._read_to += 1
            if not self._overlong and len(line) <= self.limit + 1:
                self.number = self._read_to
                return line
            begin = self._overlong.decode(errors="surrogateescape") or line
            reason = f"The line is longer than {self.limit:,} characters."
            self.bad.append(BadRow(self._read_to, reason, begin[:100]))
            self._overlong = b""

    def _whole_line(self) -> bytes:
        while (end := self._buffer.find(self._break, self._at)) < 0:
            if len(self._buffer) - self._at > 4 * self.limit:  # a character has at most four bytes
                self._overlong = self._overlong or self._buffer[self._at : self._at + 400]
                self._at = len(self._buffer)
            if not self._fill(1):
                end = len(self._buffer)
                if self._damage or (self._at == end and not self._overlong):
                    raise self._damage or StopIteration
                break
        line, self._at = self._buffer[self._at : end + 1], end + 1
        return line

    def _fill(self, size: int) -> bool:
        """Read at least `size` bytes more. False when there are none."""
        parts, count = [self._buffer[self._at :]], 0
        try:
            while count < size and (piece := self.stream.read1(256 * 1024)):
                parts.append(piece)
                count += len(piece)
        except UnreadableFileError as error:
            self._damage = error
        self._buffer, self._at = b"".join(parts), 0
        return count > 0

    def peek(self, size: int) -> bytes:
        """Whole lines, unread, about `size` bytes of them; nothing where only one line at a time can be read."""
        if self._given_back or self._overlong or self._break != b"\n":
            return b""
        missing = size - (len(self._buffer) - self._at)
        at_end = missing > 0 and not self._fill(missing) and not self._damage
        rest = self._buffer[self._at :]
        if at_end and rest and not rest.endswith(b"\n"):
            return rest + b"\n"
        return rest[: rest.rfind(b"\n") + 1]

    @property
    def next_number(self) -> int:
        return self._read_to + 1

    def skip(self, size: int, lines: int) -> None:
        """Leave out what peek() has shown."""
        self._at = min(self._at + size, len(self._buffer))
        self._read_to += lines
        self.number = self._read_to

    def has_read(self, number: int) -> bool:
        return self._read_to >= number and not self._given_back

    def take_bad(self) -> list[BadRow]:
        bad, self.bad = self.bad, []
        return bad


Position = tuple[Counted, int | None]  # the file, and its size where it is known


def fraction(position: Position) -> float:
    counted, size = position
    return min(1.0, counted.count / size) if size else 0.0
