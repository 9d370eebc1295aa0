"""Signatures of webhook deliveries: made by the service, checked by who receives them. Standard library only."""

import hashlib
import hmac
import time

from msc_vision.errors import InvalidDataError

SIGNATURE_HEADER = "Msc-Vision-Signature"
DELIVERY_HEADER = "Msc-Vision-Delivery"
EVENT_HEADER = "Msc-Vision-Event"
TOLERANCE_S = 300


def signature_header(secret: str, body: bytes, timestamp_s: int) -> str:
    """Return ``t=…,v1=…``: HMAC-SHA256 over the time in seconds, a dot and the body."""
    return f"t={timestamp_s},v1={_digest(secret, body, timestamp_s)}"


def check_signature(secret: str, header: str, body: bytes, now_s: float | None = None) -> None:
    """Check that a delivery comes from the service and is fresh; compare its delivery id with those already seen.

    Parameters
    ----------
    secret : str
        As shown when the webhook was made.
    header : str
        Value of ``Msc-Vision-Signature``.
    body : bytes
        As received, before any parsing.
    now_s : float or None
        Seconds since 1970; None: now.

    Raises
    ------
    InvalidDataError
        If it is malformed, of another secret or body, or older or newer than five minutes.
    """
    parts = dict(one.partition("=")[::2] for one in header.split(","))
    stamp, given = parts.get("t", ""), parts.get("v1", "")
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) < 16 and given):
        raise InvalidDataError(f"{SIGNATURE_HEADER} is {header[:100]!r}, not t=…,v1=…: do not trust this delivery.")
    if not hmac.compare_digest(_digest(secret, body, int(stamp)).encode(), given.encode()):
        raise InvalidDataError("The signature does not fit body and secret: do not trust this delivery.")
    if abs((time.time() if now_s is None else now_s) - int(stamp)) > TOLERANCE_S:
        raise InvalidDataError("The delivery was signed more than five minutes from now: it may be a repetition.")


def _digest(secret: str, body: bytes, timestamp_s: int) -> str:
    return hmac.new(secret.encode(), f"{timestamp_s}.".encode() + body, hashlib.sha256).hexdigest()
