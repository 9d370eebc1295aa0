"""Uploaded runs: a zip is streamed to disk and unpacked only if all of it is harmless."""

import asyncio
import hashlib
import shutil
import stat
import zipfile
import zlib
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath

from msc_vision.io.output import output_errors
from msc_vision.service.problems import ProblemError
from msc_vision.service.settings import Limits

COPY_BYTES = 1024 * 1024
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_ENCRYPTED = 0x1
_FREE_FACTOR = 1.05
_RESERVED = frozenset(
    {"con", "prn", "aux", "nul", *(f"com{n}" for n in range(1, 10)), *(f"lpt{n}" for n in range(1, 10))}
)


async def store_upload(parts: AsyncIterator[bytes], target: Path, limit_bytes: int) -> str:
    """Write a body to a file as it arrives, and return its sha256.

    Raises
    ------
    ProblemError
        ``too-large`` as soon as it is.
    OutputError
        If it cannot be written.
    """
    n_bytes, digest = 0, hashlib.sha256()
    with output_errors(target), target.open("xb") as handle:
        async for part in parts:
            n_bytes += len(part)
            if n_bytes > limit_bytes:
                raise ProblemError("too-large", f"The upload is larger than {limit_bytes} bytes; send fewer files.")
            digest.update(part)
            await asyncio.to_thread(handle.write, part)
    return digest.hexdigest()


def unpack_run(archive: Path, target: Path, limits: Limits) -> Path:
    """Unpack the zip of one run folder into a new folder and return where its run.json lies.

    Raises
    ------
    ProblemError
        ``unsafe-upload``: not a zip, a name that leads elsewhere, a link, a bomb, too much; nothing is left behind.
    OutputError
        If it cannot be written.
    """
    try:
        with zipfile.ZipFile(archive) as pack:
            entries = _checked(pack, limits)
            _check_space(entries, target.parent)
            with output_errors(target):
                target.mkdir()
                for entry in entries:
                    _unpack(pack, entry, target / PurePosixPath(entry.filename))
        return _run_folder(target)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeError) as err:
        shutil.rmtree(target, ignore_errors=True)
        raise ProblemError("unsafe-upload", f"The upload is no whole zip: {' '.join(str(err).split())}.") from err
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise


def _checked(pack: zipfile.ZipFile, limits: Limits) -> list[zipfile.ZipInfo]:
    """Return the files of a zip, if there are not too many and each has a harmless name."""
    entries = [entry for entry in pack.infolist() if not entry.is_dir()]
    if len(pack.infolist()) > limits.unpacked_files:
        raise ProblemError("unsafe-upload", f"The zip has more than {limits.unpacked_files} entries.")
    n_bytes = sum(entry.file_size for entry in entries)
    packed = sum(entry.compress_size for entry in entries)
    if n_bytes > limits.unpacked_bytes:
        raise ProblemError("unsafe-upload", f"The zip unpacks to {n_bytes} bytes; {limits.unpacked_bytes} are allowed.")
    if n_bytes > COPY_BYTES and n_bytes > packed * limits.unpacked_ratio:
        raise ProblemError("unsafe-upload", f"The zip unpacks to {n_bytes / max(packed, 1):.0f} times its size.")
    seen: set[str] = set()
    for entry in entries:
        _check_entry(entry)
        if entry.filename.casefold() in seen:
            raise ProblemError("unsafe-upload", f"{entry.filename[:200]!r} is in the zip twice.")
        seen.add(entry.filename.casefold())
    return entries


def _check_entry(entry: zipfile.ZipInfo) -> None:
    name = entry.filename
    parts = name.split("/")
    is_odd = (
        name != entry.orig_filename
        or len(name) > 500
        or "\\" in name
        or ":" in name
        or any(ord(char) < 32 or ord(char) == 127 for char in name)
    )
    leads_away = any(part in ("", ".", "..") or part != part.rstrip(". ") for part in parts)
    if is_odd or leads_away or any(part.partition(".")[0].casefold() in _RESERVED for part in parts):
        raise ProblemError("unsafe-upload", f"{name[:200]!r} is no plain relative path; pack the run folder itself.")
    mode = entry.external_attr >> 16
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise ProblemError("unsafe-upload", f"{name[:200]!r} is a link or a device; pack plain files only.")
    if entry.flag_bits & _ENCRYPTED or entry.compress_type not in _METHODS:
        raise ProblemError("unsafe-upload", f"{name[:200]!r} is encrypted or packed in an unusual way; use deflate.")


def _check_space(entries: list[zipfile.ZipInfo], folder: Path) -> None:
    n_bytes = sum(entry.file_size for entry in entries) * _FREE_FACTOR
    if shutil.disk_usage(folder).free < n_bytes:
        raise ProblemError("unavailable", f"Not enough disk space to unpack {n_bytes:.0f} bytes.", retry_after_s=300)


def _unpack(pack: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    """Write one file; never more bytes than the zip's directory states."""
    target.parent.mkdir(parents=True, exist_ok=True)
    left = entry.file_size
    with pack.open(entry) as source, target.open("xb") as handle:
        while part := source.read(min(COPY_BYTES, left + 1)):
            left -= len(part)
            if left < 0:
                raise ProblemError("unsafe-upload", f"{entry.filename[:200]!r} is longer than the zip says.")
            handle.write(part)


def _run_folder(folder: Path) -> Path:
    """Return the folder of run.json: the top, or the one folder in it."""
    inner = [one for one in folder.iterdir() if one.is_dir()]
    for candidate in (folder, *(inner if len(inner) == 1 else ())):
        if (candidate / "run.json").is_file():
            return candidate
    raise ProblemError("unsafe-upload", "The zip holds no run folder: there is no run.json at its top.")
