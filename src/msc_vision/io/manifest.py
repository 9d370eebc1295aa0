"""The manifest: which image shows which layer of which vessel. Read it, write it, draft it from a folder, check it."""

from msc_vision.io.manifest_check import check_manifest
from msc_vision.io.manifest_draft import draft_manifest
from msc_vision.io.manifest_files import UNKNOWN_LAYER, manifest_schema, raise_complaints, read_manifest, write_manifest

__all__ = [
    "UNKNOWN_LAYER",
    "check_manifest",
    "draft_manifest",
    "manifest_schema",
    "raise_complaints",
    "read_manifest",
    "write_manifest",
]
