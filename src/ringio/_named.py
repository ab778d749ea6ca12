"""``NamedTuple`` as ``typing`` has it, for type checkers and in use, whose classes are made ten times sooner.

``typing.NamedTuple`` compiles each annotation of a class, and then a constructor for it: 0.1 to 0.3 ms, which for all
classes of these packages was a third of the time that importing them takes. Here one constructor is compiled for each
number of fields, and its parameters are renamed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from operator import itemgetter
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, Self

try:
    # As collections.namedtuple does: it is read as fast as a slot.
    from _collections import _tuplegetter as field_getter  # type: ignore[import-not-found]
except ImportError:

    def field_getter(index: int, doc: str) -> property:
        """What reads one field."""
        return property(itemgetter(index), doc=doc)


class Fields(tuple[Any, ...]):
    """What all named tuples can do; ``collections.namedtuple`` says what that is."""

    __slots__ = ()

    if TYPE_CHECKING:
        _fields: tuple[str, ...]

    @classmethod
    def _make(cls, values: Iterable[Any]) -> Self:
        return cls(*values)

    def _replace(self, /, **changes: Any) -> Self:
        made = type(self)(*map(changes.pop, self._fields, self))
        if changes:
            raise TypeError(f"{type(self).__name__} has no fields {', '.join(changes)}")
        return made

    __replace__ = _replace  # for copy.replace()

    def _asdict(self) -> dict[str, Any]:
        return dict(zip(self._fields, self, strict=True))

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
        return f"{type(self).__name__}({values})"

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self)


class Maker(type):
    """Makes a tuple of what a class statement says: annotated names are fields, their values defaults.

    Where the class stands, annotations are strings (``from __future__ import annotations``).
    """

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> Any:
        """A subclass of :class:`Fields`; the class that others inherit from is made as it stands."""
        if not bases:
            return super().__new__(cls, name, bases, namespace)
        fields = tuple(namespace.get("__annotations__", ()))
        defaults = {field: namespace[field] for field in fields if field in namespace}
        namespace |= {field: field_getter(index, f"Field {index}.") for index, field in enumerate(fields)}
        namespace |= {
            "__slots__": (),
            "__match_args__": fields,
            "_fields": fields,
            "_field_defaults": defaults,
            "__new__": constructor(name, fields, tuple(defaults.values())),
        }
        return type(name, (Fields,), namespace)


def constructor(name: str, fields: tuple[str, ...], defaults: tuple[Any, ...]) -> Callable[..., Any]:
    """The ``__new__`` of a class with these fields; the last ones have the defaults."""
    code = _constructor_code(len(fields)).replace(
        co_name="__new__", co_qualname=f"{name}.__new__", co_varnames=("_cls", *fields)
    )
    return FunctionType(code, {"_new": tuple.__new__, "__builtins__": {}}, "__new__", defaults)


@cache
def _constructor_code(count: int) -> CodeType:
    fields = "".join(f"_{number}, " for number in range(count))
    made: FunctionType = eval(f"lambda _cls, {fields}: _new(_cls, ({fields}))")
    return made.__code__


if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple
else:
    NamedTuple = Maker("NamedTuple", (), {"__doc__": "A tuple whose items have names, as ``typing.NamedTuple``."})
