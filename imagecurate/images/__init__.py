"""Pictures: from the bytes of a file to what a model takes in."""

from imagecurate.images.decoder import Decoder
from imagecurate.images.policy import INFO_COLUMNS, Decoded, DecodePolicy, ImageInfo
from imagecurate.images.preprocessing import Preprocessing

__all__ = ["INFO_COLUMNS", "DecodePolicy", "Decoded", "Decoder", "ImageInfo", "Preprocessing"]
