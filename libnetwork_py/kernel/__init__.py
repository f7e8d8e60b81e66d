"""The only room that touches the network stack, and the only one that imports pyroute2.

Division of labour: `api` is the contract; `linux` keeps it, out of `opener` (who may enter namespaces, open sockets and start
processes there), `transport` (netlink requests and answers), `messages` (words to bytes), `nft` (tables and elements to bytes),
`snapshot` (bytes to facts), `processes` (a program inside a sandbox) and `probe` (what this kernel can do).

May import: desired, facts, nftables, types, errors.
"""
