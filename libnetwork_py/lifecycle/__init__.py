"""The use cases: create, join, leave, delete, restore, reconcile; what each changes, all of it or nothing.

Division of labour: `networks`, `endpoints` and `sandboxes` decide what a call changes in the records; `state` holds the records
in memory; `describe` asks drivers what should exist for them; `work` is one operation: the records before and after, the
intent in the store, the change in the kernel, and the way back; `engine` runs operations under the lock, recovers what a dead
process left, and keeps up with other processes; `addressing` deals with IPAM; `reconcile` compares with the machine.

Rule 1: everything is checked before the store is written, the store is written before the kernel is touched.
Rule 2: lock order: the engine's thread lock, the store's process lock, the machine's namespace-naming lock. Never upward.

May import: drivers.api, ipam, store, kernel.api, firewall, ports, plugins, network, endpoint, sandbox, desired, facts, render,
config, labels, types, errors.
"""
