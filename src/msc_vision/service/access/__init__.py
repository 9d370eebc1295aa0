"""Who may do what: people and their passwords, keys of services, sessions, signatures."""

from msc_vision.service.access.access import Access
from msc_vision.service.access.errors import (
    ForbiddenError,
    LockedOutError,
    NotAuthenticatedError,
    PasswordExpiredError,
    PasswordRefusedError,
    SignatureRefusedError,
)
from msc_vision.service.access.keys import Key, NewKey
from msc_vision.service.access.people import Person
from msc_vision.service.access.principals import KEY_SCOPES, ROLE_SCOPES, ROLES, SCOPES, Principal, Scope
from msc_vision.service.access.sessions import NewSession
from msc_vision.service.access.settings import AccessSettings, HashingSettings
from msc_vision.service.access.signatures import Signature, SignatureRequest, list_signatures

__all__ = [
    "KEY_SCOPES",
    "ROLES",
    "ROLE_SCOPES",
    "SCOPES",
    "Access",
    "AccessSettings",
    "ForbiddenError",
    "HashingSettings",
    "Key",
    "LockedOutError",
    "NewKey",
    "NewSession",
    "NotAuthenticatedError",
    "PasswordExpiredError",
    "PasswordRefusedError",
    "Person",
    "Principal",
    "Scope",
    "Signature",
    "SignatureRefusedError",
    "SignatureRequest",
    "list_signatures",
]
