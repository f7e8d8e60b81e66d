"""The relay's program: carries connections and datagrams to containers that the kernel's translation does not reach.

A package of its own, run by `children` without the rest of the library and told by `relays` what to carry; it imports nothing but the
standard library. One thread serves every port. It never binds a port: listening sockets come to it as descriptors.

Division of labour: `process` is told what to carry, and by whom; `loop` waits; `listeners` are the sockets that clients come to, and where
they lead; `streams` carries TCP and SCTP, `datagrams` UDP; `doors` says who came from an internal network.

Only IPv6 is carried: what reaches a socket by IPv4 is the kernel's to translate, or for nobody. Clients see resets as resets.

May import: nothing of this library.
"""
