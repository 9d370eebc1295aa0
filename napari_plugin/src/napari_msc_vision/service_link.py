"""The site's service as the reviewer's partner: log in, ask for a decision, say, sign. No Qt here.

Everything is asked of `msc_vision.service.client`. A password is handed on once and not kept.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from msc_vision.batch.finished import read_record
from msc_vision.decision.judgement import Review
from msc_vision.errors import InvalidArgumentError, MissingDependencyError
from msc_vision.review.events import Reviewer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from msc_vision.service.client import Client

TIMEOUT_S = 20.0
PATIENCE_S = 30.0
_HERE = ("localhost", "127.0.0.1", "::1")
HOW_TO_INSTALL = "The part that talks to the service is not installed: pip install 'napari-msc-vision[service]'."


@dataclass(frozen=True, slots=True)
class Account:
    """Who is logged in at which service; ``roles`` as the service names them."""

    url: str
    username: str
    printed_name: str
    roles: tuple[str, ...]

    @property
    def reviewer(self) -> Reviewer:
        """The same person as events name them."""
        return Reviewer(self.username, "service log-in")

    @property
    def words(self) -> str:
        """Who that is, for the screen."""
        return f"{self.printed_name} ({self.username}, {', '.join(self.roles)}) at {self.url}"


class ServiceLink:
    """A person's session at a service, for one run folder.

    Every method waits for an answer: call it off the main thread.
    All of them raise `ServiceRefusedError` with the words of the service, or `OutputError` if it cannot be reached.

    Attributes
    ----------
    account : Account
    run_id : str
    """

    def __init__(self, client: "Client", account: Account, run: Path) -> None:
        self._client = client
        self._run = run
        self.account = account
        self.run_id = str(read_record(run)["run_id"])

    @classmethod
    def log_in(cls, url: str, username: str, password: str, run: Path, **options: Any) -> "ServiceLink":
        """Log a person in.

        Parameters
        ----------
        url : str
            Such as ``https://msc.site:8790``.
        username, password : str
        run : Path
            The run folder under review.
        **options
            Of `Client`; for tests.

        Raises
        ------
        MissingDependencyError
            If httpx is not installed.
        InvalidArgumentError
            If the address is none, or would send the password readable over a network.
        """
        address = checked_url(url)
        with _in_words():
            client, found = _client_class().log_in(
                address, username, password, **{"timeout_s": TIMEOUT_S, "patience_s": PATIENCE_S, **options}
            )
        account = Account(address, found["username"], found["printed_name"], tuple(found["roles"]))
        return cls(client, account, run)

    def log_out(self) -> None:
        """End the session; what was asked of the service stays there."""
        with _in_words():
            self._client.log_out()

    def know_run(self) -> str:
        """Let the service know the run, and return where it reads it; a run it knows already is left as it is."""
        with _in_words():
            return str(self._client.register(str(self._run.absolute()))["path"])

    def rule_sets(self) -> tuple[tuple[str, str], ...]:
        """Return the rule sets that the service knows: name as it is asked for, and a title with its state."""
        with _in_words():
            found = self._client.rule_sets()
        return tuple((f"{one['id']}@{one['version']}", f"{one['title']} ({one['status']})") for one in found)

    def decide(self, vessel_id: str, rule_set: str) -> dict[str, Any]:
        """Ask for a decision on a vessel as this run shows it; it supersedes the one that stands at the service."""
        self.know_run()
        with _in_words():
            standing = next(self._client.decisions(vessel_id=vessel_id, current="true"), None)
            more = {} if standing is None else {"supersedes": standing["decision_id"]}
            return self._client.decide(vessel_id, rule_set, run_id=self.run_id, **more)

    def records(self, vessel_id: str, most: int = 20) -> tuple[dict[str, Any], ...]:
        """Return the records of a vessel at the service, the last one first."""
        with _in_words():
            listed = [one for _, one in zip(range(most), self._client.decisions(vessel_id=vessel_id), strict=False)]
            return tuple(self._client.decision(one["decision_id"]) for one in listed)

    def review(self, decision_id: str, review: Review) -> dict[str, Any]:
        """Say what a person thinks of a decision, and return the one that supersedes it.

        The service names the reviewer itself: it is whoever is logged in.
        """
        settles = [{"criterion": one.criterion, "layer": one.layer, "outcome": one.outcome} for one in review.settles]
        with _in_words():
            return self._client.review(
                decision_id, review.action, review.reason_code, review.reason or review.reason_code, settles=settles
            )

    def sign(self, record: Mapping[str, Any], password: str, meaning: str) -> dict[str, Any]:
        """Sign the record that was read; the password is asked of the person once more."""
        with _in_words():
            return self._client.sign(record, password, meaning)

    def signatures(self, decision_id: str) -> tuple[dict[str, Any], ...]:
        """Return the signatures of a decision, the first one first."""
        with _in_words():
            return tuple(self._client.signatures(decision_id))


class ServiceRefusedError(InvalidArgumentError):
    """The service refused; the message says why, and what to do."""


def is_installed() -> bool:
    """Return whether a service can be talked to."""
    from importlib.util import find_spec

    return find_spec("httpx") is not None


def checked_url(url: str) -> str:
    """Return the address of a service as it is asked.

    Raises
    ------
    InvalidArgumentError
        If it is none, or a password would travel readable.
    """
    address = url.strip().rstrip("/")
    parts = urlsplit(address if "//" in address else f"https://{address}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidArgumentError(f"{url!r} is no address of a service; it looks like https://msc.site:8790.")
    if parts.scheme == "http" and parts.hostname not in _HERE:
        raise InvalidArgumentError(
            f"{address} begins with http: the password would travel readable. Use https, or ask who runs the service."
        )
    return parts.geturl()


def _client_class() -> "type[Client]":
    if not is_installed():
        raise MissingDependencyError(HOW_TO_INSTALL)
    from msc_vision.service.client import Client

    return Client


_ADVICE: Mapping[str, Callable[[str], str]] = {
    "not-authenticated": lambda said: f"{said} Check name and password; after a while without use, log in again.",
    "not-allowed": lambda said: f"{said} Ask an admin of the service for the role that this takes.",
    "outside-roots": lambda said: (
        f"The service cannot see the folder of this run: {said} Move the run to a folder of the service, or ask the"
        " site to open this one to it."
    ),
    "conflict": lambda said: f"{said} Press Refresh and look again.",
    "password-expired": lambda said: f"{said} Change it at the vessel board, then log in again.",
}


@contextmanager
def _refusals_told() -> "Iterator[None]":
    from msc_vision.service.client import ServiceError

    try:
        yield
    except ServiceError as err:
        said = " ".join(str(err.problem["detail"]).split())
        words = _ADVICE.get(err.kind)
        raise ServiceRefusedError(f"The service refused: {said if words is None else words(said)}") from err


def _in_words() -> AbstractContextManager[None]:
    """Turn what the service refuses into words for the person at the screen."""
    if not is_installed():
        raise MissingDependencyError(HOW_TO_INSTALL)
    return _refusals_told()
