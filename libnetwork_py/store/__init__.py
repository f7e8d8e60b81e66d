"""Where records live.

Division of labour: `api` is the contract; `codec` turns records into documents and back, the only place that does; `sqlite` is the
embedded store, `memory` the one for examples and tests.

May import: network, endpoint, sandbox, types, errors.
"""
