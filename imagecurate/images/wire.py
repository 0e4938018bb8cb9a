"""What the two sides of the decoder's own process agree on.

A request is eight bytes of length and the file.  The answer begins with a message of what the header tells, empty where
it tells nothing; for a large picture one byte then comes in as leave to go on.  A second message tells everything, and
holds ``error`` where there are no pixels; else the rows of the RGB picture follow.  A message is four bytes of length
and a JSON object; numbers are little-endian.
"""

from __future__ import annotations

import json
import struct
from typing import IO, Any

__all__ = [
    "LARGE_PIXELS",
    "LEAVE",
    "MEMORY",
    "MEMORY_A_PIXEL",
    "MEMORY_A_PIXEL_UNREAD",
    "NO_MEMORY",
    "OUT_OF_MEMORY",
    "READY",
    "REQUEST",
    "is_large",
    "receive",
    "send",
]

#: Pictures of more pixels are decoded one at a time in all of the calling process, so that threads do not multiply its
#: peak of memory.
LARGE_PIXELS = 1 << 24
#: Bytes that decoding a picture may take beside the file itself, and for each pixel that its header announces.  The
#: greediest library, OpenJPEG, takes 19 for RGB; libwebp 16, libpng 4.
MEMORY = 1 << 29
MEMORY_A_PIXEL = 32
#: The same before the header is read, for each pixel that it may announce: libwebp reserves two canvases.
MEMORY_A_PIXEL_UNREAD = 8
NO_MEMORY = f"decoding takes too much memory: {MEMORY >> 20} MB and {MEMORY_A_PIXEL} bytes a pixel are not enough"
#: Exit status of a process whose memory ran out too late to say so.
OUT_OF_MEMORY = 77
#: One byte, once Pillow is loaded; one byte that lets a large picture go on.
READY = b"r"
LEAVE = b"l"

REQUEST = struct.Struct("<Q")
_MESSAGE = struct.Struct("<I")


def send(stream: IO[bytes], message: dict[str, Any]) -> None:
    """Write one message and push it out."""
    text = json.dumps(message).encode()
    stream.write(_MESSAGE.pack(len(text)) + text)
    stream.flush()


def receive(stream: IO[bytes]) -> dict[str, Any]:
    """Read one message; EOFError where the other side has ended."""
    head = stream.read(_MESSAGE.size)
    if len(head) < _MESSAGE.size:
        raise EOFError
    (length,) = _MESSAGE.unpack(head)
    text = stream.read(length)
    if len(text) < length:
        raise EOFError
    message: dict[str, Any] = json.loads(text)
    return message


def is_large(message: dict[str, Any]) -> bool:
    """Whether the picture that a first message tells of has to wait for leave."""
    return bool(message) and message["width"] * message["height"] > LARGE_PIXELS
