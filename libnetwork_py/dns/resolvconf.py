"""``resolv.conf`` by the reference's rules: read the host's, override, and turn it into a sandbox's.

Two ways to turn it: `ResolvConf.direct`, for a sandbox that asks its servers itself, leaves out those that only the host can reach;
`ResolvConf.internal`, for one with a name service of its own, names that service alone, and who stands behind it is told in a comment.

May import: nothing of this package.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from attrs import evolve, frozen

_DEFAULTS4 = ("8.8.8.8", "8.8.4.4")
_DEFAULTS6 = ("2001:4860:4860::8888", "2001:4860:4860::8844")


@frozen
class Server:
    """A name server behind the service. ``host``: it was found on the host and is asked from there, else from the sandbox."""

    address: str
    host: bool

    def __str__(self) -> str:
        return f"host({self.address})" if self.host else self.address


@frozen
class ResolvConf:
    """The content of a ``resolv.conf``, and how it came about.

    Attributes:
        nameservers: Addresses as text; an IPv6 one keeps its zone.
        invalid: What stood for a name server and is no address.
        other: Lines that nobody here knows, kept as they are.
        overrides: Which of ``nameservers``, ``search`` and ``options`` the user gave.
        ndots_from: Who said ``ndots``: ``host``, ``override`` or ``internal``; empty if nobody.
        behind: The servers behind the service; ``None`` where there is no service.
    """

    path: str = ""
    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    other: tuple[str, ...] = ()
    invalid: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    ndots_from: str = ""
    transform: str = ""
    defaulted: bool = False
    behind: tuple[Server, ...] | None = None

    def override(
        self,
        nameservers: Sequence[str] | None = None,
        search: Sequence[str] | None = None,
        options: Sequence[str] | None = None,
    ) -> ResolvConf:
        """Return it with what is given in place of what was there; ``"."`` in ``search`` stands for none."""
        given = {"nameservers": nameservers, "search": search, "options": options}
        changed = {name: tuple(value) for name, value in given.items() if value is not None}
        if "search" in changed:
            changed["search"] = tuple(each for each in changed["search"] if each != ".")
        result = evolve(self, overrides=tuple(changed), **changed)  # type: ignore[arg-type]  # three names of its own
        if options is None:
            return result
        return evolve(result, ndots_from="override" if result.option("ndots") is not None else "")

    def option(self, name: str) -> str | None:
        """Return an option's value, the last one's; empty for one without a value, ``None`` if it is not there."""
        found = [each.partition(":")[2] for each in self.options if each.partition(":")[0] == name]
        return found[-1] if found else None

    @property
    def ndots(self) -> int | None:
        """The number of ``ndots``, if it is a valid one."""
        value = self.option("ndots") or ""
        return int(value) if value.isascii() and value.isdigit() else None

    def direct(self, *, ipv6: bool) -> ResolvConf:
        """Return that of a sandbox that asks the servers itself: the host's own loopback is not there.

        Args:
            ipv6: Whether the sandbox has IPv6.
        """
        if "nameservers" in self.overrides:
            return evolve(self, transform="legacy")
        kept = tuple(each for each in self.nameservers if _reachable(each, ipv6=ipv6))
        defaults = _DEFAULTS4 + _DEFAULTS6 * ipv6
        return evolve(self, nameservers=kept or defaults, transform="legacy", defaulted=not kept)

    def internal(self, service: str, required: Iterable[str] = ()) -> ResolvConf:
        """Return that of a sandbox with a name service.

        Args:
            service: The service's address.
            required: Options to add where there is none of that name; an invalid ``ndots`` counts as none.
        """
        overridden = "nameservers" in self.overrides
        behind = tuple(Server(each, not overridden) for each in self.nameservers)
        result = evolve(self, nameservers=(service,), behind=behind, transform="internal resolver")
        for option in required:
            name = option.partition(":")[0]
            if name == "ndots":
                result = evolve(result, options=tuple(each for each in result.options if not _invalid_ndots(each)))
            if result.option(name) is None:
                ndots_from = "internal" if name == "ndots" else result.ndots_from
                result = evolve(result, options=(*result.options, option), ndots_from=ndots_from)
        return result

    def text(self, *, comments: bool = True) -> str:
        """Return the file; ``comments``: with how it came about."""
        lines = [f"nameserver {each}" for each in self.nameservers]
        lines += [f"search {' '.join(self.search)}"] if self.search else []
        lines += [f"options {' '.join(self.options)}"] if self.options else []
        lines += self.other
        return "".join(f"{line}\n" for line in (*lines, *(self._comments() if comments else ())))

    def _comments(self) -> Iterator[str]:
        yield ""
        yield f"# Based on host file: '{self.path}'" + (f" ({self.transform})" if self.transform else "")
        if self.invalid:
            yield f"# Invalid nameservers: {_list(self.invalid)}"
        if self.behind is not None:
            yield f"# ExtServers: {_list(self.behind)}" if self.behind else "# NO EXTERNAL NAMESERVERS DEFINED"
        if self.defaulted:
            yield "# Used default nameservers."
        yield f"# Overrides: {_list(self.overrides)}"
        if self.ndots_from:
            yield f"# Option ndots from: {self.ndots_from}"


def parse(text: str, path: str = "") -> ResolvConf:
    """Read a file: the last ``search`` or ``domain`` counts, ``options`` add up, comments are left out."""
    nameservers: list[str] = []
    invalid: list[str] = []
    options: list[str] = []
    other: list[str] = []
    search: tuple[str, ...] = ()
    for line in text.splitlines():
        words = _words(line)
        match words[:1]:
            case []:
                pass
            case ["nameserver"]:
                for word in words[1:2]:
                    (nameservers if _is_address(word) else invalid).append(word)
            case ["search" | "domain"]:
                search = tuple(words[1:])
            case ["options"]:
                options += words[1:]
            case _:
                other.append(line.strip())
    result = ResolvConf(path, tuple(nameservers), search, tuple(options), tuple(other), tuple(invalid))
    return evolve(result, ndots_from="host") if result.option("ndots") is not None else result


def _words(line: str) -> list[str]:
    """The words of a line up to a comment."""
    words = line.split()
    ends = [place for place, word in enumerate(words) if word[0] in "#;"]
    return words[: ends[0]] if ends else words


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _is_address(text: str) -> bool:
    return _address(text) is not None


def _reachable(text: str, *, ipv6: bool) -> bool:
    address = _address(text)
    return address is not None and not address.is_loopback and (ipv6 or address.version == 4)


def _invalid_ndots(option: str) -> bool:
    name, _, value = option.partition(":")
    return name == "ndots" and not (value.isascii() and value.isdigit())


def _list(values: Iterable[object]) -> str:
    return f"[{' '.join(map(str, values))}]"
