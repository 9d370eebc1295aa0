"""What one service process holds: its parts, and who is asking."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from msc_vision.service.access import Access, Principal, Scope
from msc_vision.service.credentials import Credentials
from msc_vision.service.evidence_cache import EvidenceCache
from msc_vision.service.forecast_cache import ForecastCache
from msc_vision.service.jobs import JobRunner
from msc_vision.service.limits import RefusalLog
from msc_vision.service.metrics import ServiceMetrics
from msc_vision.service.rule_library import RuleLibrary
from msc_vision.service.settings import ServiceSettings
from msc_vision.service.store import Store
from msc_vision.service.webhooks import Deliverer


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who was authenticated, and the request they made."""

    principal: Principal
    address: str
    request_id: str
    token: str

    @property
    def who(self) -> str:
        """How the audit log names them."""
        return self.principal.who


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of one service process. ``workers`` are threads for what takes longer than a millisecond.

    ``judges`` are few: judging is pure Python, and more threads of it would only wait for each other. ``gatekeepers``
    check credentials, so that nobody waits at the door while all workers are busy.
    """

    settings: ServiceSettings
    store: Store
    access: Access
    credentials: Credentials
    rules: RuleLibrary
    evidence: EvidenceCache
    forecasts: ForecastCache
    jobs: JobRunner
    webhooks: Deliverer
    metrics: ServiceMetrics
    refusals: RefusalLog
    workers: ThreadPoolExecutor
    judges: ThreadPoolExecutor
    gatekeepers: ThreadPoolExecutor
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    def require(self, caller: Caller, scope: Scope, what: str) -> None:
        """Check that a caller may do something; a refusal is noted.

        Raises
        ------
        ForbiddenError
            If they may not.
        """
        self.access.require(caller.principal, scope, what=what)
