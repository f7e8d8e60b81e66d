"""Where records live.

Division of labour: `api` is the contract, `checks` what every store checks alike; `codec` turns records into documents and back, the
only place that does, out of `forms`; `sqlite` is the embedded store over `database`, its file, and `memory` the one for examples and
tests; `directory` makes and checks state directories, `owners` says whom it trusts; `filelock` is the lock between processes.

What many hosts share is beside it: `cluster` is the contract of a cluster's store, and of its URL; `etcd`, `consul` and `zookeeper` (over
`znodes`) are engines, `shared` is the one in memory; `ring` goes from one server to the next, `web` says what a failed request
means, `feed` is the thread of a watch.

May import: network, endpoint, sandbox, types, errors.
"""
