"""The ``overlay`` driver: one network across many hosts, over VXLAN.

On each host where an endpoint of a network is joined there is a namespace for the network, apart from the host's own: in it a bridge, on
the bridge the endpoints of this host and a VXLAN device for each subnet. The devices' packets go through the host's namespace. In a
namespace of its own, a network is cut off from the host and from every other network without a single rule of the packet filter, its
subnets may be the host's or another network's, and no other program's rules for forwarded packets concern it.

Nothing is learnt or flooded: the bridge and the devices are told of every endpoint on another host. ARP requests and neighbour
solicitations for those are answered on the spot, and those for nobody end there.

Division of labour: `options` gives each option its type and default; `checks` says which networks there can be; `peers` describes the
endpoints of other hosts; `driver` the rest.

May import: drivers.api, drivers.macs, drivers.options, desired, facts, network, endpoint, sandbox, labels, types, errors.
"""
