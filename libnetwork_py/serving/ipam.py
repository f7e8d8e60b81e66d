"""An IPAM driver's calls, answered by any IPAM driver of this library, and remembered.

An IPAM driver keeps no files; what it gave out is written to a store here before it is answered, and said to it again at the next start.

May import: ipam.api, store.api, plugins, labels, types, errors.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any

from attrs import evolve, frozen

from .. import labels
from ..errors import LibnetworkError, NotFound
from ..ipam.api import IpamDriver, Pool, PoolRequest
from ..store.api import Store, Write
from ..types import IPAddress, MacAddress, Scope, parse_address, parse_network
from .body import Body

SPACES: Mapping[str, Scope] = {"libnetwork-py-local": "local", "libnetwork-py-global": "global"}
PREFIX = "served/"


@frozen
class _Out:
    """A pool that is out, what was asked for it, and its addresses. ``holders``: how many times it was given."""

    pool: Pool
    request: PoolRequest
    addresses: tuple[IPAddress, ...] = ()
    holders: int = 1


class IpamService:
    """The calls of one IPAM driver.

    Args:
        ipam: Hands out.
        store: Where what is out is remembered.
    """

    def __init__(self, ipam: IpamDriver, store: Store) -> None:
        self._ipam, self._store = ipam, store
        self._lock = threading.Lock()
        self._out: dict[str, _Out] = {}
        for item in store.items(PREFIX):
            out = _read(json.loads(item.document))
            self._out[out.pool.id] = out
            ipam.reserve(out.pool, out.request, out.addresses)

    def calls(self) -> Mapping[str, Any]:
        """Return each method of the protocol with what answers it."""
        return {
            "GetCapabilities": lambda _: {"RequiresMACAddress": False, "RequiresRequestReplay": False},
            "GetDefaultAddressSpaces": self.spaces,
            "RequestPool": self.request_pool,
            "ReleasePool": self.release_pool,
            "RequestAddress": self.request_address,
            "ReleaseAddress": self.release_address,
        }

    def spaces(self, _body: Body) -> Mapping[str, Any]:
        """The two address spaces."""
        local, everywhere = SPACES
        return {"LocalDefaultAddressSpace": local, "GlobalDefaultAddressSpace": everywhere}

    def request_pool(self, body: Body) -> Mapping[str, Any]:
        """Give a pool out."""
        request = PoolRequest(
            6 if body.flag("V6") else 4,
            SPACES.get(body.text("AddressSpace"), "local"),
            body.parsed("Pool", parse_network),
            body.parsed("SubPool", parse_network),
            options=body.inner("Options").texts(),
        )
        with self._lock:
            pool = self._ipam.request_pool(request)
            held = self._out.get(pool.id)
            out = evolve(held, holders=held.holders + 1) if held else _Out(pool, evolve(request, subnet=pool.subnet))
            self._remember(out, lambda: self._ipam.release_pool(pool.id))
        data = {labels.IPAM_GATEWAY: f"{pool.gateway}/{pool.subnet.prefixlen}"} if pool.gateway else {}
        return {"PoolID": pool.id, "Pool": str(pool.subnet), "Data": data}

    def release_pool(self, body: Body) -> Mapping[str, Any]:
        """Take a pool back; one that is not out is no error."""
        with self._lock:
            out = self._out.get(body.text("PoolID", needed=True))
            if out is not None:
                self._ipam.release_pool(out.pool.id)
                if out.holders > 1:
                    self._write(evolve(out, holders=out.holders - 1))
                else:
                    del self._out[out.pool.id]
                    self._store.commit([Write(_key(out), None)])
        return {}

    def request_address(self, body: Body) -> Mapping[str, Any]:
        """Give an address out."""
        options = body.inner("Options").texts()
        mac = options.pop(labels.ENDPOINT_MACADDRESS, "")
        with self._lock:
            out = self._known(body)
            got = self._ipam.request_address(
                out.pool.id,
                body.parsed("Address", parse_address),
                mac=MacAddress(mac) if mac else None,
                options=options,
            )
            self._remember(
                evolve(out, addresses=(*out.addresses, got.ip)), lambda: self._ipam.release_address(out.pool.id, got.ip)
            )
        return {"Address": str(got), "Data": {}}

    def release_address(self, body: Body) -> Mapping[str, Any]:
        """Take an address back; one that is not out is no error."""
        address = body.parsed("Address", parse_address)
        with self._lock:
            out = self._out.get(body.text("PoolID", needed=True))
            if out is not None and address is not None and address in out.addresses:
                self._ipam.release_address(out.pool.id, address)
                self._write(evolve(out, addresses=tuple(each for each in out.addresses if each != address)))
        return {}

    def _known(self, body: Body) -> _Out:
        pool_id = body.text("PoolID", needed=True)
        if pool_id not in self._out:
            raise NotFound(f"no pool {pool_id!r} is out", code="pool_not_found", pool_id=pool_id)
        return self._out[pool_id]

    def _remember(self, out: _Out, back: Any) -> None:
        """Write it down, or take it back."""
        try:
            self._write(out)
        except LibnetworkError:
            back()
            raise

    def _write(self, out: _Out) -> None:
        self._store.commit([Write(_key(out), json.dumps(_document(out)).encode())])
        self._out[out.pool.id] = out


def _key(out: _Out) -> str:
    return f"{PREFIX}{out.pool.id.replace('/', '_')}"


def _document(out: _Out) -> dict[str, Any]:
    return {
        "id": out.pool.id,
        "subnet": str(out.pool.subnet),
        "range": str(out.pool.ip_range or ""),
        "scope": out.request.scope,
        "options": dict(out.request.options),
        "addresses": [str(each) for each in out.addresses],
        "holders": out.holders,
    }


def _read(document: Mapping[str, Any]) -> _Out:
    subnet = parse_network(document["subnet"])
    ip_range = parse_network(document["range"]) if document["range"] else None
    request = PoolRequest(
        6 if subnet.version == 6 else 4, document["scope"], subnet, ip_range, options=document["options"]
    )
    addresses = tuple(parse_address(each) for each in document["addresses"])
    return _Out(Pool(document["id"], subnet, ip_range), request, addresses, document["holders"])
