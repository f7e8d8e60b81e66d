"""Open vSwitch, by its own programs: which bridge and which ports there are, and how fast a port may send.

They find the switch where they always do; ``OVS_RUNDIR`` names the directory of another one's sockets.
"""

from __future__ import annotations

import subprocess

from libnetwork_py.errors import NotSupported, Unavailable

SECONDS = 10
"""How long Open vSwitch may take for anything."""


def add_bridge(name: str, datapath: str) -> None:
    """Make a bridge, if it is not there."""
    _vsctl("--may-exist", "add-br", name, "--", "set", "bridge", name, f"datapath_type={datapath}")


def delete_bridge(name: str) -> None:
    """Remove a bridge with its ports, if it is there."""
    _vsctl("--if-exists", "del-br", name)


def add_port(bridge: str, name: str, vlan: int) -> None:
    """Make an interface that is a port of a bridge, if it is not there; it is down, in the namespace that the switch runs in."""
    tag = [f"tag={vlan}"] if vlan else []
    _vsctl("--may-exist", "add-port", bridge, name, *tag, "--", "set", "interface", name, "type=internal")


def delete_port(bridge: str, name: str) -> None:
    """Remove a port with its interface, wherever that is, if it is there."""
    _vsctl("--if-exists", "del-port", bridge, name)


def limit(bridge: str, name: str, rate: int) -> None:
    """Let a port send no more than ``rate`` kbit/s: what is more is dropped by a meter of the port's own number."""
    number = _number(name)
    burst = max(rate // 10, 20)
    _ofctl("add-meter", bridge, f"meter={number},kbps,burst,bands=type=drop,rate={rate},burst_size={burst}")
    _ofctl("add-flow", bridge, f"priority=10,in_port={number},actions=meter:{number},NORMAL")


def unlimit(bridge: str, name: str) -> None:
    """Take that back, as long as the port is there."""
    number = _number(name)
    _ofctl("del-flows", bridge, f"in_port={number}")
    _ofctl("del-meter", bridge, f"meter={number}")


def has_port(name: str) -> bool:
    """Return whether there is a port of that name."""
    return bool(_vsctl("--bare", "--columns=name", "find", "port", f"name={name}").strip())


def _number(name: str) -> int:
    return int(_vsctl("get", "interface", name, "ofport"))


def _vsctl(*arguments: str) -> str:
    return _run("ovs-vsctl", f"--timeout={SECONDS}", *arguments)


def _ofctl(*arguments: str) -> str:
    return _run("ovs-ofctl", "-O", "OpenFlow13", f"--timeout={SECONDS}", *arguments)


def _run(*argv: str) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=2 * SECONDS, check=False)
    except FileNotFoundError as error:
        raise NotSupported(f"driver 'ovs' needs Open vSwitch: there is no {argv[0]}", code="no_ovs") from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"driver 'ovs': {argv[0]} did not end within {2 * SECONDS} s", code="ovs") from error
    if done.returncode:
        raise Unavailable(f"driver 'ovs': {' '.join(argv)}: {done.stderr.strip() or done.returncode}", code="ovs")
    return done.stdout
