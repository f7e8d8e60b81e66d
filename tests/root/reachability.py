"""Who reaches whom, as one table that a reader can check.

Division of labour: the table says what must be; `Topology` says where things are, whoever built them; `Row` turns both into questions,
and `probing` asks them with real packets.

``four`` is a sandbox of a network of the same mode that has IPv4 alone, and publishes as ``web`` does: by IPv6 it is reached through
a relay, and sees the address of its own ``plain-gateway``.

The places: ``web`` and ``same`` are sandboxes of the network in question, whose gateway mode and ICC vary; ``other`` is one of another
network, ``inner`` one of an internal network, ``host`` the host's namespace, ``outside`` a machine beyond it. Everybody has routes
straight to every network, as somebody who wanted in would. ``web`` publishes one port for all the host's addresses (``any``), one for
the address of its uplink (``one``), one for 127.0.0.1 (``loopback``), and one not at all (``none``). The way there: ``direct`` to the
server's own address, or to the published port at the ``host``'s uplink address, at the network's ``gateway`` address, or at
127.0.0.1 and ::1 (``loopback``). What is published for 127.0.0.1 is published for ::1 too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import frozen

from tests.root.probing import Question

MODES = ("nat", "nat-unprotected", "routed", "isolated")

PORTS = {"any": 80, "one": 81, "loopback": 82, "none": 83}
"""How a port of ``web`` is published → its number."""
HOST_PORTS = {"web": 8000, "four": 9000}
"""Who publishes → by how much the host's ports are higher."""

# A cell says whose address the server sees: the client's "own", or that of a place; "-": no answer; ".": no such way.
# "a|b": a with ICC, b without. "a/b": a by IPv4, b by IPv6. A row with a port holds for TCP and UDP alike. "a*": not where br_netfilter
# shows bridged packets to the packet filter: a translation back into the same bridge is then bridged, and isolated ports stay isolated.
TABLE = """
client   server   way       port      nat              nat-unprotected  routed           isolated
web      web      direct    any       own              own              own              own
web      web      direct    one       own              own              own              own
web      web      direct    loopback  own              own              own              own
web      web      direct    none      own              own              own              own
web      web      direct    icmp      own              own              own              own
web      web      host      any       gateway|gateway* gateway|gateway* -                -
web      web      host      one       gateway|gateway* gateway|gateway* -                -
web      web      host      loopback  -                -                -                -
web      web      gateway   any       gateway|gateway* gateway|gateway* -                .
web      web      gateway   one       -                -                -                .
web      web      gateway   loopback  -                -                -                .
web      same     direct    none      own|-            own|-            own|-            own|-
web      same     direct    icmp      own|-            own|-            own|-            own|-
web      other    direct    none      -                -                -                -
web      other    direct    icmp      -                -                -                -
web      inner    direct    none      -                -                -                -
web      inner    direct    icmp      -                -                -                -
web      host     direct    none      own              own              own              -
web      host     direct    icmp      own              own              own              -
web      outside  direct    none      host             host             own              -
web      outside  direct    icmp      host             host             own              -
same     web      direct    any       own|-            own|-            own|-            own|-
same     web      direct    one       own|-            own|-            own|-            own|-
same     web      direct    loopback  own|-            own|-            own|-            own|-
same     web      direct    none      own|-            own|-            own|-            own|-
same     web      direct    icmp      own|-            own|-            own|-            own|-
same     web      host      any       gateway|gateway* gateway|gateway* -                -
same     web      host      one       gateway|gateway* gateway|gateway* -                -
same     web      host      loopback  -                -                -                -
same     web      gateway   any       gateway|gateway* gateway|gateway* -                .
same     web      gateway   one       -                -                -                .
same     web      gateway   loopback  -                -                -                .
same     other    direct    none      -                -                -                -
same     other    direct    icmp      -                -                -                -
same     inner    direct    none      -                -                -                -
same     inner    direct    icmp      -                -                -                -
same     host     direct    none      own              own              own              -
same     host     direct    icmp      own              own              own              -
same     outside  direct    none      host             host             own              -
same     outside  direct    icmp      host             host             own              -
other    web      direct    any       -                -                gateway          -
other    web      direct    one       -                -                gateway          -
other    web      direct    loopback  -                -                gateway          -
other    web      direct    none      -                -                -                -
other    web      direct    icmp      -                -                gateway          -
other    web      host      any       own              own              -                -
other    web      host      one       own              own              -                -
other    web      host      loopback  -                -                -                -
other    web      gateway   any       own              own              -                .
other    web      gateway   one       -                -                -                .
other    web      gateway   loopback  -                -                -                .
other    same     direct    none      -                -                -                -
other    same     direct    icmp      -                -                gateway          -
other    inner    direct    none      -                -                -                -
other    inner    direct    icmp      -                -                -                -
other    host     direct    none      own              own              own              own
other    host     direct    icmp      own              own              own              own
other    outside  direct    none      host             host             host             host
other    outside  direct    icmp      host             host             host             host
inner    web      direct    any       -                -                -                -
inner    web      direct    one       -                -                -                -
inner    web      direct    loopback  -                -                -                -
inner    web      direct    none      -                -                -                -
inner    web      direct    icmp      -                -                -                -
inner    web      host      any       -                -                -                -
inner    web      host      one       -                -                -                -
inner    web      host      loopback  -                -                -                -
inner    web      gateway   any       -                -                -                .
inner    web      gateway   one       -                -                -                .
inner    web      gateway   loopback  -                -                -                .
inner    same     direct    none      -                -                -                -
inner    same     direct    icmp      -                -                -                -
inner    other    direct    none      -                -                -                -
inner    other    direct    icmp      -                -                -                -
inner    host     direct    none      own              own              own              own
inner    host     direct    icmp      own              own              own              own
inner    outside  direct    none      -                -                -                -
inner    outside  direct    icmp      -                -                -                -
host     web      direct    any       gateway          gateway          gateway          -
host     web      direct    one       gateway          gateway          gateway          -
host     web      direct    loopback  gateway          gateway          gateway          -
host     web      direct    none      gateway          gateway          gateway          -
host     web      direct    icmp      gateway          gateway          gateway          -
host     web      host      any       gateway          gateway          -                -
host     web      host      one       gateway          gateway          -                -
host     web      host      loopback  -                -                -                -
host     web      gateway   any       gateway          gateway          -                .
host     web      gateway   one       -                -                -                .
host     web      gateway   loopback  -                -                -                .
host     web      loopback  any       gateway          gateway          -                -
host     web      loopback  one       -                -                -                -
host     web      loopback  loopback  gateway          gateway          -                -
host     same     direct    none      gateway          gateway          gateway          -
host     same     direct    icmp      gateway          gateway          gateway          -
host     other    direct    none      back-gateway     back-gateway     back-gateway     back-gateway
host     other    direct    icmp      back-gateway     back-gateway     back-gateway     back-gateway
host     inner    direct    none      inner-gateway    inner-gateway    inner-gateway    inner-gateway
host     inner    direct    icmp      inner-gateway    inner-gateway    inner-gateway    inner-gateway
host     outside  direct    none      own              own              own              own
host     outside  direct    icmp      own              own              own              own
outside  web      direct    any       -                own              own              -
outside  web      direct    one       -                own              own              -
outside  web      direct    loopback  -                own              own              -
outside  web      direct    none      -                own              -                -
outside  web      direct    icmp      -                own              own              -
outside  web      host      any       own              own              -                -
outside  web      host      one       own              own              -                -
outside  web      host      loopback  -                -                -                -
outside  web      gateway   any       own              own              -                .
outside  web      gateway   one       -                -                -                .
outside  web      gateway   loopback  -                -                -                .
outside  same     direct    none      -                own              -                -
outside  same     direct    icmp      -                own              own              -
outside  other    direct    none      -                -                -                -
outside  other    direct    icmp      -                -                -                -
outside  inner    direct    none      -                -                -                -
outside  inner    direct    icmp      -                -                -                -
outside  host     direct    none      own              own              own              own
outside  host     direct    icmp      own              own              own              own
four     four     host      any       plain-gateway/-|plain-gateway*/- plain-gateway/-|plain-gateway*/- - -
four     four     host      one       plain-gateway/-|plain-gateway*/- plain-gateway/-|plain-gateway*/- - -
web      four     direct    none      -                -                -                -
web      four     host      any       own/plain-gateway own/plain-gateway -              -
web      four     host      one       own/plain-gateway own/plain-gateway -              -
web      four     host      loopback  -                -                -                -
web      four     gateway   any       own/plain-gateway own/plain-gateway -              .
web      four     gateway   loopback  -                -                -                .
same     four     host      any       own/plain-gateway own/plain-gateway -              -
other    four     host      any       own/plain-gateway own/plain-gateway -              -
other    four     host      one       own/plain-gateway own/plain-gateway -              -
inner    four     host      any       -                -                -                -
inner    four     host      one       -                -                -                -
inner    four     host      loopback  -                -                -                -
host     four     host      any       plain-gateway    plain-gateway    -                -
host     four     host      one       plain-gateway    plain-gateway    -                -
host     four     host      loopback  -                -                -                -
host     four     loopback  any       plain-gateway    plain-gateway    -                -
host     four     loopback  one       -                -                -                -
host     four     loopback  loopback  plain-gateway    plain-gateway    -                -
outside  four     direct    none      -                own              -                -
outside  four     host      any       own/plain-gateway own/plain-gateway -              -
outside  four     host      one       own/plain-gateway own/plain-gateway -              -
outside  four     host      loopback  -                -                -                -
"""


@frozen
class Topology:
    """Places and addresses.

    Attributes:
        places: Place → path of its namespace.
        addresses: Place and family → its address; ``gateway``: the bridge's address on the network in question.
    """

    places: Mapping[str, str]
    addresses: Mapping[tuple[str, int], str]

    def name(self, client: str, family: int, seen: str | None) -> str:
        """Return whose address a server saw, as the table's cells say it."""
        if seen is None:
            return "-"
        if seen == self.addresses.get((client, family)):
            return "own"
        return next((place for (place, _), address in self.addresses.items() if address == seen), seen)


@frozen
class Row:
    """One line of the table."""

    client: str
    server: str
    way: str
    port: str
    cells: Mapping[str, str]

    @property
    def what(self) -> str:
        """The line's beginning."""
        return f"{self.client} to {self.server} {self.way} {self.port}"

    def expected(self, mode: str, family: int, *, icc: bool, br_netfilter: bool = False) -> str:
        """Return what the table says of a network in this mode."""
        cell = self._cell(mode, family, icc=icc)
        return "-" if br_netfilter and cell.endswith("*") else cell.removesuffix("*")

    def _cell(self, mode: str, family: int, *, icc: bool) -> str:
        with_icc, _, without = self.cells[mode].partition("|")
        ipv4, _, ipv6 = ((without or with_icc) if not icc else with_icc).partition("/")
        return (ipv6 or ipv4) if family == 6 else ipv4

    def questions(self, topology: Topology) -> Iterator[Question]:
        """Return what to ask in a topology: nothing, where it has no such address."""
        number = (
            0 if self.port == "icmp" else PORTS[self.port] + (0 if self.way == "direct" else HOST_PORTS[self.server])
        )
        for family in (4, 6):
            address = self._target(topology, family)
            for protocol in ("icmp",) if self.port == "icmp" else ("tcp", "udp"):
                if address is not None:
                    name = f"{self.what} {protocol} IPv{family}"
                    yield Question(name, topology.places[self.client], address, protocol, number)

    def _target(self, topology: Topology, family: int) -> str | None:
        if self.way == "loopback":
            return "127.0.0.1" if family == 4 else "::1"
        return topology.addresses.get((self.server if self.way == "direct" else self.way, family))


def rows() -> tuple[Row, ...]:
    """Return the table's lines."""
    head, *lines = (line.split() for line in TABLE.splitlines() if line)
    return tuple(Row(line[0], line[1], line[2], line[3], dict(zip(head[4:], line[4:], strict=True))) for line in lines)


@frozen
class Cell:
    """One question of one line."""

    row: Row
    question: Question


def cells(topology: Topology) -> tuple[Cell, ...]:
    """Return every question of the table in a topology."""
    return tuple(Cell(row, question) for row in rows() for question in row.questions(topology))


def listening(topology: Topology) -> dict[str, tuple[int, ...]]:
    """Return the ports at which each place must serve, by the path of its namespace."""
    serving = dict.fromkeys(topology.places, (PORTS["none"],)) | dict.fromkeys(HOST_PORTS, tuple(PORTS.values()))
    return {topology.places[place]: ports for place, ports in serving.items()}
