"""The name service of sandboxes: what a name means, and who answers.

Division of labour: `wire` reads and writes messages, `book` holds names and addresses, `answers` makes an answer of a question: bytes
to bytes, without I/O. `resolvconf` and `hosts` write the two files of a sandbox, as text.

May import: errors, types. What runs in the service's own process (`wire`, `book`, `answers`) imports the standard library alone.
"""
