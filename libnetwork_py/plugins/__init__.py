"""Implementations found through entry points, and Docker's plug-ins in other processes.

Division of labour: `registry` finds, loads, checks and remembers entry points by name; it knows no kind of plug-in in particular.
`discovery` finds the sockets and specification files of Docker's plug-ins, `http` exchanges one request, `client` speaks the protocol:
what the methods mean is known to `drivers.remote` and `ipam.remote`.

May import: config, types, errors.
"""
