"""What callers are told of policies: of the one in force, of those that decided something once, and what is decided by it."""

from __future__ import annotations

import json

from gateway.callers import Caller, Role
from gateway.errors import InvalidRequest, NotFound, PolicyRefused
from gateway.executions import owned_execution
from gateway.explaining import explanation
from gateway.in_force import InForce
from gateway.limiter import Limiter
from gateway.reloading import Reloader
from gateway.requests import ExplainRequest
from gateway.store import Store
from gateway.times import now
from gateway.wire_policy import ExplanationView, KeptPolicyView, PolicyView, ReloadView


class PolicyViews:
    """One gateway's policies, as callers may see them."""

    def __init__(self, *, policy: InForce, store: Store, limiter: Limiter, reloader: Reloader) -> None:
        self._policy = policy
        self._store = store
        self._limiter = limiter
        self._reloader = reloader

    def of_caller(self, caller: Caller) -> PolicyView:
        """See `service.Service.policy`."""
        profile = self._policy.profile(caller)
        return PolicyView(
            name=profile.policy,
            profile=profile.name,
            digest=profile.digest,
            document=json.loads(profile.document),
            today=self._limiter.today(caller, now()),
            file=self._reloader.view() if Role.OPERATOR in caller.roles else None,
        )

    async def reload(self) -> ReloadView:
        """See `service.Service.reload_policy`."""
        done = await self._reloader.reload("request")
        if not done.loaded:
            fields = tuple(
                (f"{one.file}:{one.line}:{one.column}", f"{one.path}: {one.message}") for one in done.problems
            )
            raise PolicyRefused(fields=fields, extra={"reload": json.loads(done.model_dump_json())})
        return done

    async def of_execution(self, caller: Caller, execution: str) -> PolicyView:
        """See `service.Service.policy_of`."""
        row, _ = await self._store.read(lambda reader: owned_execution(reader, caller, execution))
        kept = await self.kept(row.policy)
        return PolicyView(name=row.policy_name, profile=row.profile, digest=row.policy, document=kept.document)

    async def kept(self, digest: str) -> KeptPolicyView:
        """See `service.Service.kept_policy`."""
        document = await self._store.read(lambda reader: reader.policy_document(digest))
        if document is None:
            raise NotFound("Nothing was ever decided by such a policy.")
        return KeptPolicyView(digest=digest, document=json.loads(document))

    def explain(self, asked: ExplainRequest) -> ExplanationView:
        """See `service.Service.explain`."""
        try:
            return explanation(self._policy.current, asked)
        except KeyError as error:
            field = "key" if asked.key is not None and asked.profile is None else "profile"
            raise InvalidRequest(fields=((field, error.args[0]),)) from None
