"""The ``bridge`` driver: a Linux bridge per network, a veth pair per endpoint, NAT to the outside.

Division of labour: `options` gives each Docker option its type and default; `checks` says which networks there can be; `leaves`
how a network is made of several bridges when it is too large for one; `driver`
decides links, addresses and sysctls; what
the packet filter must hold is asked of `firewall`.

May import: drivers.api, drivers.options, firewall, desired, facts, network, endpoint, sandbox, labels, types, errors.
"""
