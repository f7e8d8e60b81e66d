"""What the failures of an HTTP request mean.

May import: requests, urllib3.
"""

from __future__ import annotations

from requests import RequestException
from urllib3.exceptions import MaxRetryError, NewConnectionError


def refused(error: BaseException | None) -> bool:
    """Whether a request never reached its server, because there was no connection to be had."""
    if not isinstance(error, RequestException) or not error.args:
        return False
    reason = error.args[0]
    return isinstance(reason, MaxRetryError) and isinstance(reason.reason, NewConnectionError)
