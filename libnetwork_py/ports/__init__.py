"""Host ports: which are taken by us, and keeping them from others while they are published.

Division of labour: `reservations` knows which host ports are ours and chooses new ones; `places` which addresses stand in each other's
way; `guards` holds a bound socket for each; `ranges` reads the kernel's two settings that say which ports may be chosen freely. Who
opens a socket in the host's namespace is told from outside.

May import: types, errors.
"""
