"""The only room that touches the network stack, and the only one that imports pyroute2.

Division of labour: `api` is the contract; `linux` keeps it.

- Changes: `applying` (all or nothing; enforcing), `making` and `removing` (order, batches), `stack` (a namespace being worked on),
  `reaper` (what outlives a dropped namespace), `room` (on full bridges), `flows` (what the kernel remembers of connections),
  `announcing` (where an address is).
- Netlink: `transport` (requests, answers, errors), `messages` out of `templates` (words to bytes), `nft` (tables and elements to
  bytes), `snapshot` (bytes to facts).
- Namespaces: `opener` (who may enter them, open sockets and start processes there), `workers` (threads), `namespaces` (system calls).
- Without root: `user` (such an opener), `dialogue` with the process that owns the namespaces (`keeper`), `joining` (a program becomes
  one inside: `joiner`), `visiting` (a function runs inside), `forbidden` (why there may be no user namespace).
- `procfs` (settings of thousands of namespaces), `processes` (a program inside a sandbox) and `probe` (what this kernel can do).

May import: desired, facts, nftables, types, errors.
"""
