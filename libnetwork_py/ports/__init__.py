"""Host ports: which are taken by us, and keeping them from others while they are published.

May import: types, errors.
"""
