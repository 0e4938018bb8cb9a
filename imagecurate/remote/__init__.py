"""Files behind URLs: their options, their file systems, and how they are asked until they answer."""

from imagecurate.remote.filesystem import filesystem, is_on_own_disk, local_path
from imagecurate.remote.options import StorageOptions, check_options, options_for
from imagecurate.remote.path import RemotePath
from imagecurate.remote.reading import range_options, read_end, read_whole
from imagecurate.remote.retry import with_retries
from imagecurate.remote.upload import Upload, abort_uploads

__all__ = [
    "RemotePath",
    "StorageOptions",
    "Upload",
    "abort_uploads",
    "check_options",
    "filesystem",
    "is_on_own_disk",
    "local_path",
    "options_for",
    "range_options",
    "read_end",
    "read_whole",
    "with_retries",
]
