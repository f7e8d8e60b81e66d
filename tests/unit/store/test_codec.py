from __future__ import annotations

import json
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address
from types import MappingProxyType
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from libnetwork_py.endpoint import EndpointRecord
from libnetwork_py.errors import Unavailable
from libnetwork_py.network import NetworkRecord, Subnet
from libnetwork_py.routes import StaticRoute
from libnetwork_py.sandbox import SandboxRecord
from libnetwork_py.store import codec, forms
from libnetwork_py.store.codec import Journal, Record, decode, decode_journal, encode, key_of
from libnetwork_py.types import EMPTY, PROTOCOLS, MacAddress, PortBinding

texts = st.text(max_size=12)
ids = st.text("0123456789abcdef", min_size=64, max_size=64)
mappings = st.dictionaries(texts, texts, max_size=3).map(lambda value: MappingProxyType(value) if value else EMPTY)
addresses = st.ip_addresses()
host_addresses = addresses.filter(lambda each: not (each.is_multicast or each.is_reserved))
tuples_of_text = st.lists(texts, max_size=3).map(tuple)
numbers = st.floats(0, 1e12)
macs = st.binary(min_size=5, max_size=5).map(lambda tail: MacAddress(b"\x02" + tail))


@st.composite
def networks(draw: st.DrawFn) -> Any:
    """Draw an IPv4 or IPv6 network."""
    address = draw(addresses)
    length = draw(st.integers(0, address.max_prefixlen))
    return forms._network(str(_interface(f"{address}/{length}").network))


def _interface(text: str) -> Any:
    return forms._interface(text)


interfaces = networks().flatmap(
    lambda net: st.integers(0, min(net.num_addresses, 2**32) - 1).map(lambda n: _interface(f"{net[n]}/{net.prefixlen}"))
)


@st.composite
def bindings(draw: st.DrawFn) -> PortBinding:
    """Draw a binding of any of the forms that `PortBinding` takes."""
    first, count = draw(st.integers(1, 60_000)), draw(st.integers(1, 20))
    host = draw(st.integers(0, 60_000))
    end = 0 if not host else host + count - 1 if count > 1 else draw(st.integers(host, host + 10))
    return PortBinding(
        first, draw(st.sampled_from(PROTOCOLS)), draw(st.none() | host_addresses), host, end, first + count - 1
    )


@st.composite
def routes(draw: st.DrawFn) -> StaticRoute:
    """Draw a static route of any form."""
    destination, gateway = draw(
        st.sampled_from((("10.9.0.0/16", "10.8.0.1"), ("10.9.0.7/32", "10.8.0.1"), ("fd09::/64", "fe80::1")))
    )
    return StaticRoute(destination, draw(st.sampled_from((None, gateway))), draw(st.integers(0, 2**32 - 1)))


subnets = st.builds(
    Subnet,
    pool_id=texts,
    subnet=networks(),
    gateway=st.none() | addresses,
    gateway_reserved=st.booleans(),
    ip_range=st.none() | networks(),
    aux_addresses=st.dictionaries(texts, addresses, max_size=2).map(MappingProxyType),
    chosen=st.booleans(),
)
records = st.one_of(
    st.builds(
        NetworkRecord,
        id=ids,
        name=texts,
        driver=texts,
        scope=st.sampled_from(("local", "global")),
        subnets=st.lists(subnets, max_size=2).map(tuple),
        ipv4=st.booleans(),
        ipv6=st.booleans(),
        internal=st.booleans(),
        attachable=st.booleans(),
        options=mappings,
        labels=mappings,
        ipam=texts,
        ipam_options=mappings,
        config_only=st.booleans(),
        config_from=st.none() | texts,
        routes=st.lists(routes(), max_size=2).map(tuple),
        created=numbers,
        vnis=st.lists(st.integers(1, 2**24 - 1), max_size=2).map(tuple),
    ),
    st.builds(
        EndpointRecord,
        id=ids,
        name=texts,
        network_id=ids,
        sandbox_id=st.none() | ids,
        addresses=st.lists(interfaces, max_size=2).map(tuple),
        mac=st.none() | macs,
        ports=st.lists(bindings(), max_size=2).map(tuple),
        bindings=st.lists(bindings(), max_size=2).map(tuple),
        expose=tuples_of_text,
        aliases=tuples_of_text,
        dns_names=tuples_of_text,
        sysctls=mappings,
        interface=st.none() | texts,
        ifname=texts,
        priority=st.integers(-(2**40), 2**40),
        options=mappings,
        labels=mappings,
        routes=st.lists(routes(), max_size=2).map(tuple),
        created=numbers,
    ),
    st.builds(
        SandboxRecord,
        id=ids,
        name=texts,
        key=texts,
        owned=st.booleans(),
        hostname=texts,
        domainname=texts,
        dns=tuples_of_text,
        dns_search=tuples_of_text,
        dns_options=tuples_of_text,
        extra_hosts=mappings,
        aliases=mappings,
        sysctls=mappings,
        labels=mappings,
        created=numbers,
    ),
)
json_values: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)

NETWORK = NetworkRecord(
    "a" * 64,
    "front",
    "bridge",
    subnets=(
        Subnet(
            "pool", IPv4Network("10.0.0.0/16"), IPv4Address("10.0.0.1"), aux_addresses={"dns": IPv4Address("10.0.0.9")}
        ),
    ),
    labels=MappingProxyType({"tier": "1"}),
)
ENDPOINT = EndpointRecord(
    "b" * 64,
    "web",
    "a" * 64,
    addresses=(IPv4Interface("10.0.0.2/16"),),
    mac=MacAddress("02:42:0a:00:00:02"),
    ports=(PortBinding.parse("[::1]:8080:80"),),
)
SANDBOX = SandboxRecord("c" * 64, "web", "/run/netns/web", dns=("10.0.0.9",))


def document_of(record: Record, **changes: object) -> bytes:
    """Return a record's document with some fields replaced."""
    return json.dumps({**json.loads(encode(record)), **changes}).encode()


class TestRecords:
    @given(records)
    def test_a_record_survives_its_document(self, record: Record) -> None:
        """Decoding what was encoded gives an equal record of the same types, under its key and under its kind."""
        for key in (key_of(record), key_of(record).partition("/")[0]):
            again = decode(key, encode(record))
            assert again == record
            assert repr(again) == repr(record)

    @given(records)
    def test_mappings_are_read_only(self, record: Record) -> None:
        """Every mapping of a decoded record is read-only, and the shared empty one where it is empty."""
        labels: Any = decode(key_of(record), encode(record)).labels
        with pytest.raises(TypeError):
            labels["new"] = "x"
        assert labels or labels is EMPTY

    def test_a_document_is_plain_json(self) -> None:
        """A document is compact JSON with its schema number, and says nothing about fields that have their default."""
        assert json.loads(encode(ENDPOINT)) == {
            "schema": 1,
            "id": "b" * 64,
            "name": "web",
            "network_id": "a" * 64,
            "addresses": ["10.0.0.2/16"],
            "mac": "02:42:0a:00:00:02",
            "ports": [[80, "tcp", "::1", 8080, 8080, 80]],
        }
        assert b" " not in encode(ENDPOINT)

    def test_the_host_address_of_a_port_is_an_address_again(self) -> None:
        """A decoded port binding has an address object."""
        again = decode("endpoint", encode(ENDPOINT))
        assert isinstance(again, EndpointRecord)
        assert again.ports[0].host_ip == IPv6Address("::1")

    def test_keys(self) -> None:
        """A key is the kind and the id."""
        assert [key_of(each) for each in (NETWORK, ENDPOINT, SANDBOX, Journal("x", "", ()))] == [
            "network/" + "a" * 64,
            "endpoint/" + "b" * 64,
            "sandbox/" + "c" * 64,
            "journal/x",
        ]


class TestDamage:
    @pytest.mark.parametrize(
        "document",
        [
            b"",
            b"\0" * 100,
            b"{",
            b"[]",
            b"null",
            b"\xff\xfe",
            b"{}",
            b"[" * 100_000,
            encode(ENDPOINT)[:-1],
            document_of(ENDPOINT, unheard_of=1),
            document_of(ENDPOINT, name=None),
            document_of(ENDPOINT, created="now"),
            document_of(ENDPOINT, priority=1.5),
            document_of(ENDPOINT, addresses="10.0.0.2/16"),
            document_of(ENDPOINT, addresses=["10.0.0.300/16"]),
            document_of(ENDPOINT, mac="02:42"),
            document_of(ENDPOINT, ports=[[80, "tcp"]]),
            document_of(ENDPOINT, ports=[[80, "carrier pigeon", None, 0, 0, 80]]),
            document_of(ENDPOINT, aliases=[1]),
            document_of(ENDPOINT, labels=[]),
            document_of(ENDPOINT, labels=["a"]),
            document_of(ENDPOINT, labels={"a": 1}),
            document_of(ENDPOINT, id="d" * 64),
            document_of(ENDPOINT, schema=0),
            document_of(ENDPOINT, schema="1"),
            document_of(ENDPOINT, schema=None),
            json.dumps({"schema": 1, "id": "b" * 64}).encode(),
        ],
    )
    def test_a_damaged_document(self, document: bytes) -> None:
        """A document that is no JSON, or lacks a field, or has one too many, or a bad value, is named with its file."""
        with pytest.raises(Unavailable, match=r"endpoint/b+ in /x/state.db is damaged") as caught:
            decode(key_of(ENDPOINT), document, "/x/state.db")
        assert (caught.value.code, caught.value.key, caught.value.path) == (
            "store_damaged",
            key_of(ENDPOINT),
            "/x/state.db",
        )

    def test_an_unknown_field_is_named(self) -> None:
        """The message for an unknown field names it."""
        with pytest.raises(Unavailable, match="unknown field 'unheard_of'"):
            decode("endpoint", document_of(ENDPOINT, unheard_of=1))

    def test_damage_in_a_subnet(self) -> None:
        """An unknown field in a part of a record is found as well."""
        document = encode(NETWORK).replace(b'"pool_id"', b'"pool_iD"')
        with pytest.raises(Unavailable) as caught:
            decode("network", document)
        assert caught.value.code == "store_damaged"

    @given(
        records,
        st.dictionaries(
            st.sampled_from(["id", "name", "ports", "labels", "subnets", "dns", "mac", "ipv6"]), json_values
        ),
    )
    def test_any_values_give_a_record_or_that_error(self, record: Record, values: Mapping[str, object]) -> None:
        """Whatever JSON stands in the place of values, decoding gives a record or reports damage; nothing else comes out."""
        try:
            again = decode(key_of(record), document_of(record, **values))
        except Unavailable as error:
            assert error.code in {"store_damaged", "schema_newer"}  # noqa: PT017
        else:
            assert encode(again)

    def test_newer_schema(self) -> None:
        """A document with a higher schema number asks for a newer release."""
        with pytest.raises(Unavailable, match="newer release") as caught:
            decode("sandbox", document_of(SANDBOX, schema=2, unheard_of=1))
        assert caught.value.code == "schema_newer"

    def test_unknown_kind(self) -> None:
        """A kind of record that this release does not know is from a newer one."""
        with pytest.raises(Unavailable) as caught:
            decode("galaxy/1", b"{}")
        assert caught.value.code == "schema_newer"


class TestUpgrade:
    def test_documents_of_older_schemas_are_upgraded_step_by_step(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A document of schema 1 passes through every upgrade of its kind up to the current schema, and is written in that."""
        monkeypatch.setattr(codec, "SCHEMA", 4)
        monkeypatch.setitem(codec.UPGRADES, ("sandbox", 1), lambda old: {**old, "name": old["name"] + " one"})
        monkeypatch.setitem(codec.UPGRADES, ("sandbox", 3), lambda old: {**old, "name": old["name"] + " three"})
        record = decode("sandbox", document_of(SANDBOX, schema=1))
        assert record.name == "web one three"
        assert json.loads(encode(record))["schema"] == 4
        assert decode("sandbox", encode(record)) == record

    def test_kinds_that_did_not_change_need_no_upgrade(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A document of an older schema whose kind has no upgrade is read as it is."""
        monkeypatch.setattr(codec, "SCHEMA", 3)
        assert decode("network", document_of(NETWORK, schema=1)) == NETWORK


class TestJournal:
    @given(
        st.lists(st.tuples(texts, st.none() | st.binary(), st.none() | records.map(encode))).map(tuple),
        texts,
        texts,
        st.lists(texts).map(tuple),
    )
    def test_a_journal_survives_its_document(
        self, changes: tuple[tuple[str, bytes | None, bytes | None], ...], name: str, why: str, bare: tuple[str, ...]
    ) -> None:
        """A decoded journal has the very bytes that were put in."""
        journal = Journal(name, why, changes, bare=bare)
        assert decode_journal(key_of(journal), encode(journal)) == journal

    def test_a_journal_can_be_read_by_people(self) -> None:
        """Its first line is JSON that says what it is for; the documents follow as they are."""
        journal = Journal("7", "create network front", ((key_of(NETWORK), None, encode(NETWORK)),))
        head, body = encode(journal).split(b"\n")
        assert json.loads(head)["why"] == "create network front"
        assert body == encode(NETWORK)

    @pytest.mark.parametrize("cut", [1, 100, 400])
    def test_a_cut_off_journal(self, cut: int) -> None:
        """A journal that is shorter than it says is damaged."""
        document = encode(Journal("7", "why", ((key_of(NETWORK), encode(NETWORK), encode(evolve(NETWORK, name="b"))),)))
        with pytest.raises(Unavailable, match=r"journal/7 in .* damaged") as caught:
            decode_journal("journal/7", document[:-cut])
        assert caught.value.code == "store_damaged"

    def test_newer_and_foreign_journals(self) -> None:
        """A journal of a newer schema and one under another's key are refused."""
        document = encode(Journal("7", "why", ()))
        with pytest.raises(Unavailable) as newer:
            decode_journal("journal/7", document.replace(b'"schema":1', b'"schema":2'))
        with pytest.raises(Unavailable) as foreign:
            decode_journal("journal/8", document)
        assert (newer.value.code, foreign.value.code) == ("schema_newer", "store_damaged")
