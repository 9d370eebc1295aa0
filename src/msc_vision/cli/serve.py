"""``msc-vision serve``: the HTTP service, one process."""

import importlib.util
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from msc_vision.cli.database import Database
from msc_vision.cli.talk import say
from msc_vision.errors import InvalidArgumentError, MissingDependencyError

if TYPE_CHECKING:
    from msc_vision.service.settings import ServiceSettings

WHERE, WHAT = "Where it answers", "What it works with"
GRACE_S = 30
Folders = list[Path] | None


def serve(  # noqa: PLR0913, PLR0917  (one parameter per option)
    config: Annotated[
        Path | None, typer.Option("--config", metavar="YAML", help="Settings of the site.", rich_help_panel=WHAT)
    ] = None,
    database: Database = None,
    root: Annotated[
        Folders,
        typer.Option(
            "--root",
            metavar="DIR",
            help="Folder that requests may name images and runs in, read only; may be given more than once.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    rules: Annotated[
        Folders,
        typer.Option("--rules", metavar="DIR", help="Folder with rule sets of the site.", rich_help_panel=WHAT),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Address to answer at.", rich_help_panel=WHERE)
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, rich_help_panel=WHERE)] = 8790,
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", metavar="PEM", help="Certificate.", rich_help_panel=WHERE)
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option("--tls-key", metavar="PEM", help="Its private key.", rich_help_panel=WHERE)
    ] = None,
    behind_proxy: Annotated[
        bool,
        typer.Option("--behind-proxy", help="A proxy of the site ends TLS in front of it.", rich_help_panel=WHERE),
    ] = False,
) -> None:
    """Answer other programs and the vessel board whether a vessel may be harvested now, and why.

    One process; several may share a database. Without TLS it answers this computer only. Make the store and the first
    admin before: `msc-vision store init`, `msc-vision access add-person`. Ctrl-C stops it gracefully: what was
    acknowledged is stored, jobs that run go on after the next start.

    **Examples**

        msc-vision serve --root /data/imaging
        msc-vision serve --config site.yaml --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem
    """
    _check_installed()
    place = _Place(host, port, tls_cert, tls_key)
    changes: dict[str, Any] = {"roots": root, "rules_folders": rules, "behind_proxy": behind_proxy or None}
    from msc_vision.service.settings import load_settings

    settings = load_settings(config, {name: value for name, value in changes.items() if value})
    place.check(is_behind_proxy=settings.behind_proxy)
    _run(settings, database, place)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the service answers."""

    host: str
    port: int
    tls_cert: Path | None
    tls_key: Path | None

    @property
    def url(self) -> str:
        """The address to open."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls_cert else 'http'}://{name}:{self.port}"

    def check(self, *, is_behind_proxy: bool) -> None:
        """Refuse to send passwords and records over a network in the clear."""
        if (self.tls_cert is None) != (self.tls_key is None):
            raise InvalidArgumentError("TLS takes a certificate and its key: --tls-cert and --tls-key.")
        for path in (self.tls_cert, self.tls_key):
            if path is not None and not path.is_file():
                raise InvalidArgumentError(f"{path}: no such file.")
        if self.tls_cert is None and not is_behind_proxy and not _is_this_computer(self.host):
            raise InvalidArgumentError(
                f"{self.host} is open to the network: give --tls-cert and --tls-key, or --behind-proxy if a proxy of "
                "the site ends TLS in front of it."
            )


def _is_this_computer(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_installed() -> None:
    missing = [
        name for name in ("fastapi", "uvicorn", "sqlalchemy", "argon2") if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise MissingDependencyError(f"{', '.join(missing)} not installed: pip install 'msc-vision[service]'.")


def _run(settings: "ServiceSettings", database: str | None, place: _Place) -> None:
    import uvicorn

    from msc_vision.cli.database import open_store
    from msc_vision.service.app import build_service, create_app
    from msc_vision.service.wire import bounded_http, collect_rarely

    store = open_store(database or settings.database)
    app = create_app(build_service(settings, store))
    say(f"Store: {store.name}. Purpose: {settings.purpose}. Runs: {settings.runs_folder}.")
    say(f"Board: {place.url}/board  API: {place.url}/v1  description: {place.url}/v1/openapi.json")
    collect_rarely()
    uvicorn.run(
        app,
        host=place.host,
        port=place.port,
        ssl_certfile=None if place.tls_cert is None else str(place.tls_cert),
        ssl_keyfile=None if place.tls_key is None else str(place.tls_key),
        proxy_headers=settings.behind_proxy,
        forwarded_allow_ips=list(settings.proxy_addresses),
        http=bounded_http(2 * settings.limits.header_bytes),
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )
