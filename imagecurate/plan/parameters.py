"""How the parameters of a stage look to whoever subclasses it.

pydantic asks for an annotation where a subclass gives an inherited parameter another default, and puts inherited
parameters before the subclass's own.  Here the first is optional, and a subclass's own parameters come first, so that
``TimmImageEmbedder("resnet50")`` names a model and not a column.
"""

from __future__ import annotations

import copy
from typing import Any

from pydantic._internal._model_construction import ModelMetaclass  # type(BaseModel), which mypy cannot follow
from pydantic.fields import FieldInfo

__all__ = ["OwnFirst"]


class OwnFirst(ModelMetaclass):
    """Metaclass of stages."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **kwargs: Any) -> Any:
        inherited = [field for base in bases for field in getattr(base, "model_fields", {})]
        defaults = {
            field: namespace.pop(field)
            for field in set(inherited) & namespace.keys()
            if not callable(namespace[field]) and not isinstance(namespace[field], FieldInfo | property)
        }
        cls: Any = super().__new__(mcs, name, bases, namespace, **kwargs)
        fields: dict[str, FieldInfo] = cls.__pydantic_fields__
        for field, default in defaults.items():
            fields[field] = copy.copy(fields[field])
            fields[field].default = default
            fields[field].default_factory = None
        order = [field for field in fields if field not in inherited] + list(dict.fromkeys(inherited))
        if defaults or order != list(fields):
            cls.__pydantic_fields__ = {field: fields[field] for field in order}
            cls.model_rebuild(force=True)
        return cls
