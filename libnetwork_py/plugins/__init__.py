"""Implementations found through entry points.

Division of labour: `registry` finds, loads, checks and remembers them by name; it knows no kind of plug-in in particular.

May import: types, errors.
"""
