"""Experiments on a topology that runs: partitions, pulled cables, captures, measurements, explanations.

    from libnetwork_py import experiments

    web.endpoints()[0].shape(rate="10mbit", delay="20ms")     # a link's condition is the endpoint's own business
    experiments.partition([a], [b, c])                        # b and c reach each other, a is alone
    experiments.heal(a, b, c)
    with experiments.capture(endpoint) as packets:
        ...
    packets.save("what_happened.pcapng")
    experiments.measure(client, server).summary()
    print(experiments.explain(client, server))

Division of labour: `links` cuts and mends; `capturing` reads frames, `packets` understands them, `pcapng` writes them; `measuring` loads
a path and reads ``TCP_INFO``; `explaining` walks a packet's way; `targets` checks what all of them are done to; `frames` hands tables to
pandas, which is an extra.

May import: the public API, condition, show's progress and tables, errors, types.
"""

from .capturing import Capture, capture
from .explaining import Explanation, explain
from .links import heal, partition, plug, pull
from .measuring import Measurement, measure

__all__ = [
    "Capture",
    "Explanation",
    "Measurement",
    "capture",
    "explain",
    "heal",
    "measure",
    "partition",
    "plug",
    "pull",
]
