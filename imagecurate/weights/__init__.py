"""Model weights: where they are looked for, how they are fetched, and how they are verified before use."""

from imagecurate.weights.digests import file_digest, tensor_digest
from imagecurate.weights.files import existing_file, read_tensors
from imagecurate.weights.known import AESTHETIC, CLIP_VIT_L14, EMBEDDERS, KNOWN, NSFW, KnownWeights, model_folder

__all__ = [
    "AESTHETIC",
    "CLIP_VIT_L14",
    "EMBEDDERS",
    "KNOWN",
    "NSFW",
    "KnownWeights",
    "existing_file",
    "file_digest",
    "model_folder",
    "read_tensors",
    "tensor_digest",
]
