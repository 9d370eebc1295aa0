"""Files written whole or not at all, with the operating system's refusals said in one line."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msc_vision.errors import OutputError

_FULL = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn an `OSError` of the block into an `OutputError` that names what could not be written, and why.

    Parameters
    ----------
    path : Path
        What is being written.
    """
    try:
        yield
    except OutputError:
        raise
    except OSError as err:
        reason = "the disk is full; free some space" if err.errno in _FULL else err.strerror or str(err)
        raise OutputError(f"{path}: cannot be written: {reason}.") from err


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, force it to disk, then rename it: a reader never sees half of it.

    Raises
    ------
    OutputError
        If it cannot be written; what was there before stays.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    with output_errors(path):
        try:
            with draft.open("wb") as handle:
                handle.write(content)
                handle.flush()
                os.fsync(handle.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a folder to fill; when the block ends well, it takes the name ``path`` in one step.

    Raises
    ------
    OutputError
        If ``path`` exists and is not an empty folder, or cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    with output_errors(path):
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise OutputError(f"{path} exists already; choose another --out.")
        try:
            draft.mkdir(parents=True)
            yield draft
            if path.exists():
                path.rmdir()
            draft.replace(path)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
