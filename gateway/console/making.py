"""Makes the console of a gateway, without importing its pages: see `door`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.types import ASGIApp

from gateway.archive import Archive
from gateway.auth import Authenticator
from gateway.gauges import Gauges
from gateway.limiter import Limiter
from gateway.service import Service

if TYPE_CHECKING:
    from gateway.console.live import Live
    from gateway.console.oidc import Oidc


class ConsoleRoom:
    """What a gateway hands to its console, and the console once somebody asked for it."""

    def __init__(  # the parts that it stands on
        self,
        *,
        service: Service,
        archive: Archive,
        gauges: Gauges,
        authenticator: Authenticator,
        limiter: Limiter,
    ) -> None:
        self.gauges = gauges
        self._service = service
        self._archive = archive
        self._authenticator = authenticator
        self._limiter = limiter
        self._oidc: Oidc | None = None
        self._live: Live | None = None

    def make(self) -> ASGIApp:
        """The pages."""
        from gateway.console.app import Console  # noqa: PLC0415  # the door imported it, elsewhere than on the loop
        from gateway.console.live import Live  # noqa: PLC0415
        from gateway.console.visits import Parts  # noqa: PLC0415

        self._live = Live(self._archive, lambda: self._authenticator.generation)
        return Console(
            Parts(
                service=self._service,
                archive=self._archive,
                gauges=self.gauges,
                authenticator=self._authenticator,
                limiter=self._limiter,
                live=self._live,
                oidc=self._log_ins,
            )
        )

    def _log_ins(self) -> Oidc | None:
        """Log-ins at the provider of the policy in force. Those that people are at end where it becomes another."""
        from gateway.console.oidc import Oidc  # noqa: PLC0415

        provider = self._authenticator.provider
        if provider is None:
            self._oidc = None
        elif self._oidc is None or self._oidc.provider != provider:
            self._oidc = Oidc(provider, lambda: self._authenticator.tokens)
        return self._oidc

    def stop(self) -> None:
        """Let open pages go."""
        if self._live is not None:
            self._live.stop()
