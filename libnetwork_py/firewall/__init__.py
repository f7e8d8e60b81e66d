"""What the packet filter must hold, and how that is written.

Division of labour: `clauses` are the few sentences rules are made of, each as ``nft`` text and as instructions; `table` is the one
constant table of a controller; `elements` are what networks and ports put into its sets. Nothing here loads anything.

May import: desired, nftables, types, errors.
"""
