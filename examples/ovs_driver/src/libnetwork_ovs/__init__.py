"""A network driver for libnetwork_py whose endpoints are ports of an Open vSwitch bridge.

Division of labour: `driver` is the driver, `options` what may be asked of it, `ovs` speaks to Open vSwitch by its own programs.
"""
