"""Where records live.

Division of labour: `api` is the contract, `checks` what every store checks alike; `codec` turns records into documents and back, the
only place that does, out of `forms`; `sqlite` is the embedded store over `database`, its file, and `memory` the one for examples and
tests; `directory` makes and checks state directories; `filelock` is the lock between processes.

May import: network, endpoint, sandbox, types, errors.
"""
