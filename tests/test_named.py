"""Our NamedTuple does what that of typing does: each test is run with both."""

from __future__ import annotations

import copy
import inspect
import pickle
import sys
import typing

import pytest

from ringio.planning import NamedTuple


class Ours(NamedTuple):
    """Two fields."""

    first: int
    second: list[str] | None = None

    @property
    def doubled(self) -> int:
        return 2 * self.first

    @classmethod
    def of(cls, text: str) -> Ours:
        return cls(int(text))

    def own_class(self):
        return __class__


class Theirs(typing.NamedTuple):
    """Two fields."""

    first: int
    second: list[str] | None = None

    @property
    def doubled(self) -> int:
        return 2 * self.first

    @classmethod
    def of(cls, text: str) -> Theirs:
        return cls(int(text))


class Strict(NamedTuple):
    """All fields must be given, and one is called like what the constructor calls its own."""

    new: int
    cls: int
    tuple: int


KINDS = pytest.mark.parametrize("kind", [Ours, Theirs])


@KINDS
def test_is_a_tuple_with_names(kind):
    made = kind(3, second=["x"])
    assert made == (3, ["x"])
    assert (made.first, made.second, made.doubled) == (3, ["x"], 6)
    assert isinstance(made, tuple)
    assert kind(5) == kind(first=5) == kind.of("5") == (5, None)
    assert hash(kind(5)) == hash((5, None))
    first, second = made
    assert (first, second) == made
    assert kind.__doc__ == "Two fields."


@KINDS
def test_cannot_be_changed_and_has_no_other_attributes(kind):
    made = kind(1)
    for name in ("first", "third"):
        with pytest.raises(AttributeError):
            setattr(made, name, 2)
    assert not hasattr(made, "__dict__")


@KINDS
def test_methods_of_named_tuples(kind):
    made = kind(1)
    assert kind._fields == kind.__match_args__ == ("first", "second")
    assert kind._field_defaults == {"second": None}
    assert made._asdict() == {"first": 1, "second": None}
    assert kind._make([1, 2]) == (1, 2)
    assert type(made._replace(second=2)) is kind
    assert made._replace(second=2) == (1, 2)
    with pytest.raises(TypeError):
        kind._make([1, 2, 3])
    with pytest.raises((TypeError, ValueError), match="third"):  # which of them changed with Python 3.13
        made._replace(third=2)
    if sys.version_info >= (3, 13):
        assert copy.replace(made, first=7) == (7, None)


@KINDS
def test_is_shown_and_copied(kind):
    made = kind(1, ["x"])
    assert repr(made) == f"{kind.__name__}(first=1, second=['x'])"
    for copied in (copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert copied == made
        assert type(copied) is kind


@KINDS
def test_says_what_it_takes(kind):
    assert list(inspect.signature(kind).parameters) == ["first", "second"]
    assert typing.get_type_hints(kind) == {"first": int, "second": list[str] | None}
    for arguments, named, words in [
        ((), {}, r"__new__\(\) missing 1 required positional argument: 'first'"),
        ((1, 2, 3), {}, r"__new__\(\) takes from 2 to 3 positional arguments but 4 were given"),
        ((1,), {"third": 3}, r"__new__\(\) got an unexpected keyword argument 'third'"),
    ]:
        with pytest.raises(TypeError, match=words):
            kind(*arguments, **named)


@KINDS
def test_matches_patterns(kind):
    match kind(1, 2):
        case Ours(first, second) | Theirs(first, second):
            assert (first, second) == (1, 2)
        case _:
            pytest.fail("no match")


def test_names_that_python_has_as_well():
    assert Strict(1, 2, tuple=3) == (1, 2, 3)
    assert Strict._field_defaults == {}
    with pytest.raises(TypeError, match=r"Strict\.__new__\(\) missing 1 required"):
        Strict(1, 2)


def test_methods_know_their_class():
    assert Ours(1).own_class() is Ours
    assert Ours.__module__ == __name__
    assert Ours.__qualname__ == "Ours"
