"""What fsspec is told about a place: one set of options, or one for each protocol, bucket or folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imagecurate.errors import ParameterError, listed

__all__ = ["StorageOptions", "check_options", "options_for"]

#: Credentials, endpoints and the like.  Never kept, never shown, part of no fingerprint.
StorageOptions = Mapping[str, Any] | None

_EXAMPLE = '{"s3://raw": {"profile": "data"}, "s3://out": {"profile": "mine"}}'


def options_for(url: str, storage_options: StorageOptions) -> dict[str, Any]:
    """Give the options for a URL.

    Parameters
    ----------
    url : str
        A file or folder.
    storage_options : mapping or None
        Options of fsspec for every URL; or, where its keys have ``://``, for each place its own: a protocol
        (``"s3://"``), a bucket (``"s3://raw"``) or a folder in one (``"s3://raw/cc12m"``).  The longest place that
        holds the URL counts, and no other; a URL that lies in none has no options.

    Raises
    ------
    ParameterError
        See ``check_options``.

    Examples
    --------
    >>> options = {"s3://": {"profile": "mine"}, "s3://public": {"anon": True}}
    >>> options_for("s3://public/00000.tar", options), options_for("s3://publications/00000.tar", options)
    ({'anon': True}, {'profile': 'mine'})
    >>> options_for("gs://other/00000.tar", options), options_for("gs://other/00000.tar", {"token": "anon"})
    ({}, {'token': 'anon'})
    """
    check_options(storage_options)
    if not storage_options or not _by_place(storage_options):
        return _copied(storage_options or {})
    holding = [place for place in storage_options if _holds(place, url)]
    return _copied(storage_options[max(holding, key=len)] or {}) if holding else {}


def check_options(storage_options: object) -> None:
    """Check what was given as storage options; no message shows a value.

    Raises
    ------
    ParameterError
        It is no mapping of names to values, or has options beside places.
    """
    if storage_options is None:
        return
    if not isinstance(storage_options, Mapping) or not all(isinstance(name, str) for name in storage_options):
        raise ParameterError.because(
            f"storage_options must be a mapping of names to values, but is a {type(storage_options).__name__}",
            f'as in {{"profile": "data"}}, or by place: {_EXAMPLE}',
        )
    places = [name for name in storage_options if "://" in name]
    others = [name for name in storage_options if "://" not in name]
    if places and others:
        raise ParameterError.because(
            f"storage_options has places ({listed(places, 5)}) and options that belong to none ({listed(others, 5)})",
            f"put these under a place, too, as in {_EXAMPLE}",
        )
    for place in places:
        if not isinstance(storage_options[place], Mapping | None):
            raise ParameterError.because(
                f"storage_options[{place!r}] must be a mapping, but is a {type(storage_options[place]).__name__}",
                f"as in {_EXAMPLE}",
            )


def _by_place(storage_options: Mapping[str, Any]) -> bool:
    return any("://" in name for name in storage_options)


def _copied(options: Mapping[str, Any]) -> dict[str, Any]:
    """A copy to the last mapping: botocore changes what it is given, and fsspec would take that for other options."""
    return {name: _copied(value) if isinstance(value, Mapping) else value for name, value in options.items()}


def _holds(place: str, url: str) -> bool:
    if place.endswith("://"):
        return url.startswith(place)
    folder = place.rstrip("/")
    return url == folder or url.startswith(f"{folder}/")
