"""Option and label keys, Docker's own, in one place. No parsing here: a driver's ``options.py`` gives each its type and meaning.

May import: nothing of this package.
"""

from __future__ import annotations

from typing import Final

PREFIX: Final = "com.docker.network"

DRIVER_MTU: Final = f"{PREFIX}.driver.mtu"
CONTAINER_IFACE_PREFIX: Final = f"{PREFIX}.container_iface_prefix"
HOST_IPV4: Final = f"{PREFIX}.host_ipv4"
HOST_IPV6: Final = f"{PREFIX}.host_ipv6"
ENABLE_IPV4: Final = f"{PREFIX}.enable_ipv4"
ENABLE_IPV6: Final = f"{PREFIX}.enable_ipv6"
INTERNAL: Final = f"{PREFIX}.internal"

GENERIC: Final = f"{PREFIX}.generic"
"""A driver's own options among those of a network, in the plug-in protocol."""
PORTMAP: Final = f"{PREFIX}.portmap"
EXPOSED_PORTS: Final = f"{PREFIX}.endpoint.exposedports"
NO_PROXY_6TO4: Final = f"{PREFIX}.driver.private.no_proxy_6to4"

BRIDGE_NAME: Final = f"{PREFIX}.bridge.name"
BRIDGE_ENABLE_IP_MASQUERADE: Final = f"{PREFIX}.bridge.enable_ip_masquerade"
BRIDGE_ENABLE_ICC: Final = f"{PREFIX}.bridge.enable_icc"
BRIDGE_GATEWAY_MODE_IPV4: Final = f"{PREFIX}.bridge.gateway_mode_ipv4"
BRIDGE_GATEWAY_MODE_IPV6: Final = f"{PREFIX}.bridge.gateway_mode_ipv6"
BRIDGE_INHIBIT_IPV4: Final = f"{PREFIX}.bridge.inhibit_ipv4"
BRIDGE_TRUSTED_HOST_INTERFACES: Final = f"{PREFIX}.bridge.trusted_host_interfaces"
BRIDGE_HOST_BINDING_IPV4: Final = f"{PREFIX}.bridge.host_binding_ipv4"
BRIDGE_DEFAULT: Final = f"{PREFIX}.bridge.default_bridge"

OVERLAY_VXLAN_IDS: Final = f"{PREFIX}.driver.overlay.vxlanid_list"
OVERLAY_PORT: Final = f"{PREFIX}.driver.overlay.port"
OVERLAY_ENCRYPTED: Final = "encrypted"

DEFAULT_GATEWAY_IPV4: Final = "DefaultGatewayIPv4"
DEFAULT_GATEWAY_IPV6: Final = "DefaultGatewayIPv6"
"""Names of auxiliary addresses that are handed to sandboxes as their gateway instead of the network's own address."""

ENDPOINT_IFNAME: Final = f"{PREFIX}.endpoint.ifname"
ENDPOINT_MACADDRESS: Final = f"{PREFIX}.endpoint.macaddress"

IPAM_REQUEST_ADDRESS_TYPE: Final = "RequestAddressType"
IPAM_GATEWAY: Final = f"{PREFIX}.gateway"
IPAM_SERIAL: Final = f"{PREFIX}.ipam.serial"
