"""How one value of a record is written to JSON and read from it, and the table that does it for a whole record.

Division of labour: `codec.py` says which form each field of which record has. Reading checks the type of everything: what is not as
`Table.dump` would have written it raises `ValueError`, `TypeError`, `KeyError` or `AttributeError`, and `codec.py` calls it damaged.

May import: routes, types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar, cast

from attrs import Factory, fields_dict

from ..routes import StaticRoute
from ..types import EMPTY, IPAddress, IPInterface, IPNetwork, MacAddress, PortBinding, Scope

Document: TypeAlias = dict[str, Any]
T = TypeVar("T")


class Form(NamedTuple):
    """How a value is written to JSON (``None``: as it is) and read from it."""

    write: Callable[[Any], Any] | None
    read: Callable[[Any], Any]


class Table(Generic[T]):
    """How records of one class are written and read."""

    def __init__(self, made: Callable[..., T], forms: Mapping[str, Form]) -> None:
        defaults = {name: each.default for name, each in fields_dict(cast("type[Any]", made)).items()}
        self._made = made
        self._values = cast("Callable[[object], tuple[Any, ...]]", attrgetter(*forms))
        self._fields = tuple((name, _default(defaults.pop(name)), form.write) for name, form in forms.items())
        self._readers = {name: form.read for name, form in forms.items()}
        if defaults:
            raise TypeError(f"the codec has no form for {', '.join(defaults)} of {made}")

    def dump(self, record: T, document: Document) -> Document:
        """Put the fields of ``record`` that do not have their default into ``document``."""
        for value, (name, default, write) in zip(self._values(record), self._fields, strict=True):
            if value is not default and value != default:
                document[name] = write(value) if write else value
        return document

    def load(self, document: Document) -> T:
        """Return the record of a document; a field that is missing or unknown raises."""
        readers = self._readers
        return self._made(**{name: readers[name](value) for name, value in document.items()})

    def as_form(self) -> Form:
        """Return the form of a tuple of such records inside another."""
        return tuple_of(self.load, lambda record: self.dump(record, {}))

    def as_optional_form(self) -> Form:
        """Return the form of one such record inside another that may have none."""
        return Form(lambda record: self.dump(record, {}), lambda value: self.load(_dict(value)))


def _default(value: Any) -> Any:
    return value.factory() if isinstance(value, Factory) else value  # type: ignore[arg-type]  # a class at run time


def text(value: object) -> str:
    """Return ``value`` if it is text."""
    if type(value) is not str:
        raise TypeError(f"{value!r} is not text")
    return value


def _flag(value: object) -> bool:
    if type(value) is not bool:
        raise TypeError(f"{value!r} is neither true nor false")
    return value


def integer(value: object) -> int:
    """Return ``value`` if it is a whole number."""
    if type(value) is not int:
        raise TypeError(f"{value!r} is not a whole number")
    return value


def _number(value: object) -> float:
    if type(value) is not float and type(value) is not int:
        raise TypeError(f"{value!r} is not a number")
    return value


def _scope(value: Scope) -> Scope:
    if value not in {"local", "global"}:
        raise ValueError(f"{value!r} is not a scope")
    return value


def _texts(value: list[object]) -> tuple[str, ...]:
    return tuple([text(each) for each in _list(value)])


def _list(value: object) -> list[Any]:
    if type(value) is not list:
        raise TypeError(f"{value!r} is not a list")
    return value


def _mapping(value: object) -> Mapping[str, str]:
    return MappingProxyType({key: text(each) for key, each in _dict(value).items()}) if value != {} else EMPTY


def _dict(value: object) -> Document:
    if type(value) is not dict:
        raise TypeError(f"{value!r} is not an object")
    return value


def _mac(value: object) -> MacAddress:
    return MacAddress(bytes.fromhex(text(value).replace(":", "")))


def _address(value: object) -> IPAddress:
    written = text(value)
    return IPv6Address(written) if ":" in written else IPv4Address(written)


def _interface(value: object) -> IPInterface:
    written = text(value)
    return IPv6Interface(written) if ":" in written else IPv4Interface(written)


def _network(value: object) -> IPNetwork:
    written = text(value)
    return IPv6Network(written) if ":" in written else IPv4Network(written)


def _write_binding(binding: PortBinding) -> list[object]:
    """Six values rather than text: text cannot say "any of these host ports" in every case."""
    return [
        binding.container_port,
        binding.protocol,
        None if binding.host_ip is None else str(binding.host_ip),
        binding.host_port,
        binding.host_port_end,
        binding.container_port_end,
    ]


def _binding(value: list[Any]) -> PortBinding:
    port, protocol, host_ip, *rest = _list(value)
    return PortBinding(
        integer(port), protocol, None if host_ip is None else _address(host_ip), *[integer(each) for each in rest]
    )


def tuple_of(read: Callable[[Any], T], write: Callable[[T], object]) -> Form:
    """Return the form of a tuple whose items are read and written so."""
    return Form(
        lambda values: [write(each) for each in values], lambda values: tuple([read(each) for each in _list(values)])
    )


TEXT = Form(None, text)
FLAG = Form(None, _flag)
INTEGER = Form(None, integer)
NUMBER = Form(None, _number)
INTEGERS = tuple_of(integer, lambda value: value)
TEXTS = Form(list, _texts)
MAPPING = Form(dict, _mapping)
ADDRESS = Form(str, _address)
NETWORK = Form(str, _network)
ADDRESSES = tuple_of(_address, str)
OPTIONAL_INTEGER = Form(None, lambda value: None if value is None else integer(value))
BINDINGS = tuple_of(_binding, _write_binding)
ROUTES = tuple_of(lambda value: StaticRoute.parse(text(value)), str)
ADDRESSES_BY_NAME = Form(
    lambda value: {name: str(address) for name, address in value.items()},
    lambda value: MappingProxyType({name: _address(each) for name, each in _dict(value).items()}),
)

INTERFACES = tuple_of(_interface, str)
MAC = Form(None, _mac)
SCOPE = Form(None, _scope)
