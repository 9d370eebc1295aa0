"""Credentials of requests: who a bearer token stands for, without holding up the event loop."""

import asyncio
import hashlib
import time
from concurrent.futures import ThreadPoolExecutor

from msc_vision.service.access import Access, Principal
from msc_vision.service.access.keys import PREFIX

TRUSTED_S = 0.5
MOST_TOKENS = 4096


class Credentials:
    """Authenticates tokens; what was checked within the last half second is known at once.

    Parameters
    ----------
    access : Access
    workers : ThreadPoolExecutor
        Where the store is asked.
    trusted_s : float
    """

    def __init__(self, access: Access, workers: ThreadPoolExecutor, trusted_s: float = TRUSTED_S) -> None:
        self._access = access
        self._workers = workers
        self._trusted_s = trusted_s
        self._known: dict[bytes, tuple[Principal, float]] = {}

    async def principal(self, token: str) -> Principal:
        """Return whose API key or session a token is.

        Raises
        ------
        NotAuthenticatedError
            If it is nobody's, or no longer valid.
        """
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()  # tokens are kept nowhere as they are
        found = self._known.get(digest)
        if found is not None and time.monotonic() < found[1]:
            return found[0]
        check = self._access.authenticate_key if token.startswith(f"{PREFIX}_") else self._access.authenticate_session
        principal = await asyncio.get_running_loop().run_in_executor(self._workers, check, token)
        if len(self._known) >= MOST_TOKENS:
            self._known.clear()
        self._known[digest] = (principal, time.monotonic() + self._trusted_s)
        return principal

    def forget(self) -> None:
        """Trust nothing that was checked before: credentials have ended."""
        self._known.clear()
