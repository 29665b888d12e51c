"""What a gateway at work makes of another policy: which of its parts can live by it at once, and what takes a restart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from gateway.auth import Authenticator, authenticator
from gateway.deliveries import Deliveries
from gateway.in_force import InForce
from gateway.isolation import targets
from gateway.policy import DEFAULT_PROFILE, Engine, Policy
from gateway.providers import provider_of
from gateway.queue import Queue
from gateway.reloading import Adoption
from gateway.settings import Settings, StartError
from gateway.store import Store
from gateway.webhooks import letter_targets, subscriptions
from sandbox.container import ContainerDriver
from sandbox.driver import UnfitError
from sandbox.outcome import Loss
from sandbox.proven import ProvenDriver
from sandbox.selftest import Target

_FIXED: Final = ("boxes", "spares")
"""Keys of `engine` that take a restart: boxes are counted by what was made for them at the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopter:
    """The parts that hold something of the policy themselves, rather than ask what is in force."""

    settings: Settings
    in_force: InForce
    authenticator: Authenticator
    store: Store
    deliveries: Deliveries
    container: ContainerDriver
    proven: ProvenDriver
    queue: Queue

    async def adopt(self, policy: Policy) -> Adoption:
        """Try all that can fail; raises `StartError`. See `reloading.Adoption`."""
        before = self.in_force.current
        if before.keys and not policy.keys:  # as a file that was cut off has none
            raise StartError(
                "The policy has no keys any more, which lets in every process of this machine: that takes a restart."
            )
        letting_in = authenticator(
            policy.keys, loopback=self.settings.loopback, data=self.settings.data, provider=provider_of(policy)
        )
        letters_to, kinds = letter_targets(policy), targets(policy)
        for name, target in kinds.items():
            if target not in self.proven.targets.values():
                await self._require_fit(name, target)
        fixed = {key: getattr(before.engine, key) for key in _FIXED}
        usable = replace(policy, engine=policy.engine.model_copy(update=fixed))

        def commit() -> None:
            self.authenticator.renew(letting_in)
            self.store.subscribe(subscriptions(policy))
            self.deliveries.retarget(letters_to)
            self.proven.targets = kinds
            self.container.default_image = policy.resolve(DEFAULT_PROFILE).isolation.image
            self._bound_queue(policy.engine)

        return Adoption(usable, commit, tuple(_restart_needed(before, policy)))

    async def _require_fit(self, name: str, target: Target) -> None:
        """Refuse a kind of box that the engine cannot make; while the engine is away, its absence is told elsewhere."""
        try:
            await self.container.posture(target.image, target.runtime, target.cell)
        except UnfitError as error:
            if error.loss is Loss.UNFIT:
                raise StartError(f"The profile {name!r} wants boxes that cannot be made: {error}") from None

    def _bound_queue(self, engine: Engine) -> None:
        share, queue = engine.retry_share, self.queue
        queue.bounds = replace(queue.bounds, length=engine.queue, age_seconds=engine.queue_age, retry_share=share)
        queue.pace.share = share


def _restart_needed(before: Policy, after: Policy) -> Iterator[str]:
    for key in _FIXED:
        if getattr(before.engine, key) != getattr(after.engine, key):
            yield f"engine.{key}"
