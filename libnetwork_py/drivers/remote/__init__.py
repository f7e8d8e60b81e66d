"""The driver that is a plug-in of Docker's in another process.

Division of labour: `driver` is the driver: it calls the plug-in when things come and go, and describes what it answered; `messages`
writes the requests and reads the answers; `plugins.client` speaks HTTP. The protocol is the reference's (libnetwork ``drivers/remote``).

May import: drivers.api, drivers.acting, plugins, desired, network, endpoint, sandbox, labels, types, errors.
"""
