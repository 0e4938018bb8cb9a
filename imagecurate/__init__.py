"""imagecurate: raw image-text shards in, training data out."""
from imagecurate._version import __version__
__all__ = ["__version__"]
