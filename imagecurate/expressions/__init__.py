"""The language of filters and computed columns."""

from imagecurate.expressions.expression import Expression

__all__ = ["Expression"]
