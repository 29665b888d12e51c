"""Makes the console of a gateway, without importing its pages: see `door`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.types import ASGIApp

from gateway.archive import Archive
from gateway.auth import Authenticator
from gateway.gauges import Gauges
from gateway.limiter import Limiter
from gateway.service import Service

if TYPE_CHECKING:
    from gateway.console.live import Live
    from gateway.console.oidc import Provider


class ConsoleRoom:
    """What a gateway hands to its console, and the console once somebody asked for it."""

    def __init__(  # noqa: PLR0913  # the parts that it stands on
        self,
        *,
        service: Service,
        archive: Archive,
        gauges: Gauges,
        authenticator: Authenticator,
        limiter: Limiter,
        provider: Callable[[], Provider | None] = lambda: None,
    ) -> None:
        self.gauges = gauges
        self._service = service
        self._archive = archive
        self._authenticator = authenticator
        self._limiter = limiter
        self._provider = provider
        self._live: Live | None = None

    def make(self) -> ASGIApp:
        """The pages."""
        from gateway.console.app import Console  # noqa: PLC0415  # the door imported it, elsewhere than on the loop
        from gateway.console.live import Live  # noqa: PLC0415
        from gateway.console.oidc import Oidc  # noqa: PLC0415
        from gateway.console.visits import Parts  # noqa: PLC0415

        self._live = Live(self._archive)
        provider = self._provider()
        return Console(
            Parts(
                service=self._service,
                archive=self._archive,
                gauges=self.gauges,
                authenticator=self._authenticator,
                limiter=self._limiter,
                live=self._live,
                oidc=Oidc(provider) if provider else None,
            )
        )

    def stop(self) -> None:
        """Let open pages go."""
        if self._live is not None:
            self._live.stop()
