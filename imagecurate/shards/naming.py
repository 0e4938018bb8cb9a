"""What the name of a tar member says: which sample it belongs to, as which field, and whether to trust it."""

from __future__ import annotations

import re

__all__ = ["IMAGE_EXTENSIONS", "field_of", "is_bare", "is_unsafe", "split_name", "without_dots"]

#: Last extensions, in small letters, that make a member an image.  Whether it really is one, its bytes decide.
IMAGE_EXTENSIONS = frozenset(
    {"jpg", "jpeg", "jpe", "jfif", "png", "webp", "avif", "gif", "bmp", "tif", "tiff"}  # what the web is made of
    | {"apng", "dib", "heic", "heif", "ico", "j2k", "jp2", "jpf", "jpx", "jxl", "mpo", "pcx", "qoi", "tga"}
    | {"pbm", "pgm", "pnm", "ppm"}
)

#: Folders that archivers leave behind, and webdataset's own ``__meta__`` members.
_LITTER = re.compile(r"(?:.*/)?(?:PaxHeaders(?:\.\d+)?|__MACOSX)/|__[^/]*__(?:$|/)")


def without_dots(name: str) -> str:
    """Take a leading ``./`` off a member's name.

    >>> without_dots("./a/b.jpg")
    'a/b.jpg'
    """
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return name


def split_name(name: str) -> tuple[str, str] | None:
    """Split a member's name, without leading ``./``, into key and field as webdataset does.

    The key keeps its folder and ends at the first dot of the base name; the field is the rest in small letters.

    Returns
    -------
    tuple of (key, field) or None
        None for what is no part of a sample: dot files (``._photo.jpg`` of macOS too), names without a dot, and
        the litter of archivers.

    Examples
    --------
    >>> split_name("a/22.05.PNG"), split_name("v1.0/000.jpg")
    (('a/22', '05.png'), ('v1.0/000', 'jpg'))
    >>> split_name("a/.DS_Store"), split_name("README"), split_name("PaxHeaders.7/000.jpg")
    (None, None, None)
    """
    base = name.rfind("/") + 1
    dot = name.find(".", base)
    if dot <= base or _is_litter(name):
        return None
    return name[:dot], name[dot + 1 :].lower()


def is_bare(name: str) -> bool:
    """Tell whether a name, without leading ``./``, could be a key alone: no dot in its base name, and no litter.

    >>> is_bare("a.b/000"), is_bare("000.jpg"), is_bare("a/"), is_bare("__MACOSX/000")
    (True, False, False, False)
    """
    base = name.rpartition("/")[2]
    return bool(base) and "." not in base and not _is_litter(name)


def field_of(name: str) -> str:
    """Give the field of a member that belongs to a sample; "" where its name is the key alone.

    >>> field_of("a/22.05.PNG"), field_of("a/22")
    ('05.png', '')
    """
    return name.rpartition("/")[2].partition(".")[2].lower()


def is_unsafe(name: str) -> bool:
    """Tell whether a name would leave the folder that it is unpacked in.

    >>> is_unsafe("/etc/passwd"), is_unsafe("a/../../b.jpg"), is_unsafe("a/b..c.jpg")
    (True, True, False)
    """
    return name.startswith("/") or (".." in name and ".." in name.split("/"))


def _is_litter(name: str) -> bool:
    return ("__" in name or "PaxHeaders" in name) and _LITTER.match(name) is not None
