"""Network drivers: each decides what should exist for a network, and for an endpoint in a sandbox. None does I/O.

Division of labour: `api` is the contract, on one screen; `options` reads option texts; one file or folder per driver. A driver
never touches the kernel: where it seems to need to, the description is missing a word.

May import: firewall, desired, facts, network, endpoint, sandbox, labels, types, errors.
"""
