"""Does a value of one type fit a parameter of another?

The definition-time twin of what type checkers do at each edge of a flow. It follows their rules for the types that
travel as JSON, and says yes wherever it cannot decide: then the validation of real values decides.
"""

import collections
import collections.abc
import enum
import types
import typing
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import typing_extensions as te

_UNIONS: Final = (Union, types.UnionType)
_COVARIANT: Final = frozenset(
    {
        tuple,
        frozenset,
        collections.abc.Collection,
        collections.abc.Container,
        collections.abc.Iterable,
        collections.abc.Iterator,
        collections.abc.Reversible,
        collections.abc.Sequence,
        collections.abc.Set,
    }
)
_INVARIANT: Final = frozenset(
    {
        list,
        set,
        dict,
        collections.deque,
        collections.defaultdict,
        collections.OrderedDict,
        collections.Counter,
        collections.abc.MutableSequence,
        collections.abc.MutableSet,
        collections.abc.MutableMapping,
    }
)
# The numeric tower as PEP 484 has it: no subclassing, yet accepted.
_PROMOTIONS: Final[dict[type, tuple[type, ...]]] = {float: (int,), complex: (int, float)}

_Pair: typing.TypeAlias = tuple[Any, Any]


def assignable(source: Any, target: Any) -> bool:
    """Tell whether a value of type `source` may be given where `target` is declared; True where that is undecidable."""
    return _assignable(source, target, frozenset())


def is_decided(declared: Any) -> bool:
    """Tell whether a type says everything about its values, that is, holds no `Any`, `object` or type variable."""
    declared = unwrapped(declared)
    if declared is Any or declared is object or _is_opaque(declared):
        return False
    if get_origin(declared) is Literal:
        return True
    if isinstance(declared, type) and not get_args(declared):
        return declared not in _COVARIANT | _INVARIANT
    return all(arg is ... or is_decided(arg) for arg in get_args(declared))


def same_type(one: Any, other: Any) -> bool:
    """Tell whether two types are one type, however they are spelt: `List[str]` and `list[str]`, `X | None` and `Optional[X]`."""
    if one is other:
        return True
    origins = get_origin(one) or one, get_origin(other) or other
    args, others = get_args(one), get_args(other)
    if all(any(origin is union for union in _UNIONS) for origin in origins):
        return len(args) == len(others) and all(any(same_type(arg, member) for member in others) for arg in args)
    if not args and not others:
        return origins[0] is origins[1] or _equal(one, other)
    return origins[0] is origins[1] and len(args) == len(others) and all(map(same_type, args, others))


def _equal(one: object, other: object) -> bool:
    try:
        return type(one) is type(other) and bool(one == other)
    except Exception:  # metadata and other people's classes compare in ways of their own
        return False


def unwrapped(declared: Any) -> Any:
    """Return the type behind `Annotated` and type aliases."""
    while True:
        if get_origin(declared) in (typing.Annotated, te.Required, te.NotRequired, te.ReadOnly):
            declared = get_args(declared)[0]
        elif _is_alias(declared):
            declared = declared.__value__
        elif _is_alias(get_origin(declared)):
            alias = get_origin(declared)
            declared = alias.__value__[get_args(declared)]
        elif declared is None:
            return types.NoneType
        else:
            return declared


def list_element(declared: Any) -> tuple[bool, Any]:
    """Tell whether a type is a list, and of what; a type that says nothing may be a list of anything."""
    declared = unwrapped(declared)
    while isinstance(declared, (typing.NewType, te.NewType)):
        declared = unwrapped(declared.__supertype__)
    if declared is Any or declared is object or _is_opaque(declared):
        return declared is not object, Any
    origin = get_origin(declared) or declared
    if origin is list:
        return True, (get_args(declared) or (Any,))[0]
    if isinstance(origin, type) and issubclass(origin, list):
        return True, _list_base_element(origin)
    return False, Any


def _list_base_element(cls: type) -> Any:
    for base in getattr(cls, "__orig_bases__", ()):
        if get_origin(base) is list:
            return get_args(base)[0]
    return Any


def _is_alias(declared: Any) -> bool:
    return isinstance(declared, te.TypeAliasType) or type(declared).__name__ == "TypeAliasType"


def _is_opaque(declared: Any) -> bool:
    """Tell whether nothing is known about a type: a type variable, an unresolved name, a form of typing's own."""
    return (
        isinstance(declared, (str, typing.TypeVar, te.TypeVar, typing.ParamSpec, typing.ForwardRef))
        or declared in (te.Self, te.LiteralString)
        or getattr(declared, "_is_protocol", False) is True
    )


def _assignable(source: Any, target: Any, seen: frozenset[_Pair]) -> bool:
    pair = _pair(source, target)
    # A recursive alias comes by again: whatever else is wrong shows elsewhere.
    if source is target or pair in seen:
        return True
    seen |= {pair}
    source, target = unwrapped(source), unwrapped(target)
    if source == target or Any in (source, target) or target is object or _is_opaque(source) or _is_opaque(target):
        return True
    if source in (typing.NoReturn, te.Never):
        return True
    if get_origin(source) in _UNIONS:
        return all(_assignable(member, target, seen) for member in get_args(source))
    if isinstance(source, (typing.NewType, te.NewType)):
        return _new_type_fits(source, target, seen)
    if get_origin(source) is Literal:
        return all(_literal_fits(value, target, seen) for value in get_args(source))
    if get_origin(target) in _UNIONS:
        return _union_takes(source, target, seen)
    if isinstance(target, (typing.NewType, te.NewType)):
        return False
    if get_origin(target) is Literal:
        return _enumerates(source, get_args(target))
    return _class_fits(source, target, seen)


def _pair(source: Any, target: Any) -> _Pair:
    try:
        hash((source, target))
    except TypeError:  # metadata of Annotated may be anything
        return id(source), id(target)
    return source, target


def _new_type_fits(source: Any, target: Any, seen: frozenset[_Pair]) -> bool:
    if get_origin(target) in _UNIONS and any(member is source for member in get_args(target)):
        return True
    return _assignable(source.__supertype__, target, seen)


def _literal_fits(value: object, target: Any, seen: frozenset[_Pair]) -> bool:
    if get_origin(target) in _UNIONS:
        return any(_literal_fits(value, unwrapped(member), seen) for member in get_args(target))
    if get_origin(target) is Literal:
        return any(type(value) is type(known) and value == known for known in get_args(target))
    return _assignable(type(value), target, seen)


def _union_takes(source: Any, target: Any, seen: frozenset[_Pair]) -> bool:
    members = [unwrapped(member) for member in get_args(target)]
    if any(_assignable(source, member, seen) for member in members):
        return True
    literals = tuple(value for member in members if get_origin(member) is Literal for value in get_args(member))
    return _enumerates(source, literals)


def _enumerates(source: Any, values: tuple[object, ...]) -> bool:
    """Tell whether the literals name every value of a type that has only a few."""
    if source is types.NoneType:
        return None in values
    if source is bool:
        return {value for value in values if isinstance(value, bool)} == {True, False}
    if isinstance(source, type) and issubclass(source, enum.Enum):
        return all(member in values for member in source)
    return False


def _class_fits(source: Any, target: Any, seen: frozenset[_Pair]) -> bool:
    source_class, target_class = get_origin(source) or source, get_origin(target) or target
    if te.is_typeddict(target_class):
        return _is_typed_dict_like(source_class, target_class, seen)
    if te.is_typeddict(source_class):
        return _mapping_of_objects(target, target_class, seen)
    if not isinstance(source_class, type) or not isinstance(target_class, type):
        return True
    if target_class in (type, collections.abc.Callable):
        return True
    generic = _pydantic_generic(source_class, target_class, seen)
    if generic is not None:
        return generic
    if not _is_subclass(source_class, target_class):
        return issubclass(source_class, _PROMOTIONS.get(target_class, ()))
    return _arguments_fit(source, source_class, target, target_class, seen)


def _is_subclass(source: type, target: type) -> bool:
    try:
        return issubclass(source, target)
    except TypeError:  # a protocol or another form that refuses the question
        return True


def _is_typed_dict_like(source: Any, target: Any, seen: frozenset[_Pair]) -> bool:
    if not te.is_typeddict(source):
        return False
    try:
        offered, wanted = get_type_hints(source, include_extras=True), get_type_hints(target, include_extras=True)
    except (NameError, TypeError):
        return True
    for key, declared in wanted.items():
        if key not in offered:
            return False
        if (key in target.__required_keys__) != (key in source.__required_keys__):
            return False
        if not _same(offered[key], declared, seen):
            return False
    return True


def _mapping_of_objects(target: Any, target_class: Any, seen: frozenset[_Pair]) -> bool:
    """Tell whether a parameter is a read-only mapping: a typed dict is no `dict`, for it must keep its keys."""
    if target_class is not collections.abc.Mapping:
        return False
    args = get_args(target)
    return not args or (_assignable(str, args[0], seen) and unwrapped(args[1]) in (object, Any))


def _pydantic_generic(source: type, target: type, seen: frozenset[_Pair]) -> bool | None:
    """Compare two parametrisations of one generic model, which are unrelated classes; None for anything else."""
    offered = getattr(source, "__pydantic_generic_metadata__", None) or {}
    wanted = getattr(target, "__pydantic_generic_metadata__", None) or {}
    if not offered.get("origin") or offered["origin"] is not wanted.get("origin"):
        return None
    return all(_same(one, other, seen) for one, other in zip(offered["args"], wanted["args"], strict=False))


def _arguments_fit(source: Any, source_class: type, target: Any, target_class: type, seen: frozenset[_Pair]) -> bool:
    wanted = get_args(target)
    if not wanted:
        return True
    if target_class is tuple:
        return _tuple_fits(get_args(source), wanted, seen)
    if source_class is not target_class:
        return _container_fits(source, source_class, wanted, target_class, seen)
    offered = get_args(source)
    if len(offered) != len(wanted):
        return True
    if target_class is collections.abc.Mapping:
        return _same(offered[0], wanted[0], seen) and _assignable(offered[1], wanted[1], seen)
    if target_class in _COVARIANT:
        return all(_assignable(one, other, seen) for one, other in zip(offered, wanted, strict=True))
    if target_class in _INVARIANT:
        return all(_same(one, other, seen) for one, other in zip(offered, wanted, strict=True))
    parameters = getattr(target_class, "__parameters__", ())
    return all(
        _argument_fits(parameter, one, other, seen)
        for parameter, one, other in zip(parameters, offered, wanted, strict=False)
    )


def _argument_fits(parameter: Any, source: Any, target: Any, seen: frozenset[_Pair]) -> bool:
    if getattr(parameter, "__covariant__", False):
        return _assignable(source, target, seen)
    if getattr(parameter, "__contravariant__", False) or getattr(parameter, "__infer_variance__", False):
        return True
    return _same(source, target, seen)


def _tuple_fits(offered: tuple[Any, ...], wanted: tuple[Any, ...], seen: frozenset[_Pair]) -> bool:
    if not offered:
        return True
    if len(wanted) == 2 and wanted[1] is ...:
        return all(_assignable(one, wanted[0], seen) for one in offered if one is not ...)
    if len(offered) == 2 and offered[1] is ...:
        return False
    if len(offered) != len(wanted):
        return False
    return all(_assignable(one, other, seen) for one, other in zip(offered, wanted, strict=True))


def _container_fits(
    source: Any, source_class: type, wanted: tuple[Any, ...], target_class: type, seen: frozenset[_Pair]
) -> bool:
    """Compare what two different containers hold, as in `list[int]` for `Sequence[float]`; others are undecidable."""
    offered = get_args(source)
    if source_class is str:
        return _assignable(str, wanted[0], seen)
    if source_class is bytes:
        return _assignable(int, wanted[0], seen)
    if source_class is dict and target_class is collections.abc.Mapping and offered:
        return _same(offered[0], wanted[0], seen) and _assignable(offered[1], wanted[1], seen)
    if source_class not in _COVARIANT | _INVARIANT or target_class not in _COVARIANT:
        return True
    held = offered if source_class is tuple else offered[:1]
    return all(_assignable(one, wanted[0], seen) for one in held if one is not ...)


def _same(source: Any, target: Any, seen: frozenset[_Pair]) -> bool:
    return _assignable(source, target, seen) and _assignable(target, source, seen)
