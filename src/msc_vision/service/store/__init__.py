"""What is kept of decisions: a database with an audit log that shows every alteration.

`Store.open` an existing database (`create_store`, `upgrade_store` make one), hand it commands (functions of a
`Transaction`) with `Store.write`, and queries (functions of a connection) with `Store.read`; `tables` has the tables.
"""

from msc_vision.service.store.backup import BackupManifest, backup_store, restore_store
from msc_vision.service.store.content import canonical_json, row_sha256, text_sha256, utc_text
from msc_vision.service.store.errors import (
    NotFoundError,
    RefusedError,
    StoreConflictError,
    StoreUnavailableError,
    StoreVersionError,
)
from msc_vision.service.store.schema import create_store, upgrade_store
from msc_vision.service.store.store import Store, StoreSettings
from msc_vision.service.store.transaction import Head, Transaction
from msc_vision.service.store.verify import StoreComplaint, verify_store
from msc_vision.service.store.writer import Command

__all__ = [
    "BackupManifest",
    "Command",
    "Head",
    "NotFoundError",
    "RefusedError",
    "Store",
    "StoreComplaint",
    "StoreConflictError",
    "StoreSettings",
    "StoreUnavailableError",
    "StoreVersionError",
    "Transaction",
    "backup_store",
    "canonical_json",
    "create_store",
    "restore_store",
    "row_sha256",
    "text_sha256",
    "upgrade_store",
    "utc_text",
    "verify_store",
]
