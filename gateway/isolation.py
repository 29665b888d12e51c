"""What isolates programs, proven: every posture that was tried is kept with what the self-test found.

Turns profiles into kinds of boxes, and proofs into rows and views. How a box is tested is the sandbox's.
"""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import UTC, datetime

from pydantic import TypeAdapter

from gateway.errors import NotFound, Unavailable
from gateway.limits import limits_for
from gateway.policy import Policy, Profile
from gateway.records import StoredPosture
from gateway.store import Store
from gateway.times import parse, stamp
from gateway.wire_operations import IsolationView, PostureView, ProofView, TrialView
from sandbox.job import Limits
from sandbox.posture import Posture
from sandbox.proven import Proof, ProvenDriver
from sandbox.selftest import Target

_TRIALS = TypeAdapter(list[TrialView])
log = logging.getLogger(__name__)


def targets(policy: Policy) -> dict[str, Target]:
    """The kind of box of each profile, by the profile's name."""
    return {name: _target(profile) for name, profile in policy.profiles.items()}


def _target(profile: Profile) -> Target:
    limits = limits_for(profile, None)
    if not isinstance(limits, Limits):
        raise TypeError("a resolved profile's own defaults are within its own limits")
    return Target(profile.isolation.image, profile.isolation.runtime, limits, profile.isolation.cell(""))


class Proofs:
    """Keeps proofs and postures in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def keep(self, proof: Proof) -> None:
        """Keep a proof. It counts also where it cannot be kept now."""
        trials = _TRIALS.dump_json(_trial_views(proof)).decode()
        await self._write(StoredPosture(proof.posture.digest, proof.posture.document, trials, _at(proof)))

    async def keep_posture(self, posture: Posture) -> None:
        """Keep the posture of a lane that has nothing to prove."""
        await self._write(StoredPosture(posture.digest, posture.document, None, None))

    async def _write(self, row: StoredPosture) -> None:
        try:
            await self._store.write(lambda writer: writer.keep_posture(row))
        except Unavailable as error:
            log.warning("the posture %s cannot be kept now: %s", row.digest, error)

    async def posture(self, digest: str) -> PostureView:
        """A posture that was in force at some time; raises `NotFound`."""
        row = await self._store.read(lambda reader: reader.posture(digest))
        if row is None:
            raise NotFound("There was no such posture.")
        return PostureView(
            digest=row.digest,
            document=json.loads(row.document),
            tested_at=parse(row.tested_at) if row.tested_at else None,
            trials=_TRIALS.validate_json(row.trials) if row.trials else None,
        )


class Isolation:
    """What isolates programs now."""

    def __init__(self, lane: ProvenDriver, proofs: Proofs) -> None:
        self._lane = lane
        self._proofs = proofs
        self._proving = asyncio.Lock()

    def view(self) -> IsolationView:
        """The latest proof of each profile."""
        latest, targets = self._lane.proofs(), self._lane.targets
        return IsolationView(
            held=all(proof is not None and not proof.findings for proof in latest.values()),
            profiles={name: _proof_view(targets[name], proof) for name, proof in latest.items()},
        )

    async def prove(self) -> IsolationView:
        """Try every forbidden thing again, one at a time however many ask for it."""
        async with self._proving:
            await self._lane.prove()
        return self.view()

    async def posture(self, digest: str) -> PostureView:
        """See `Proofs.posture`."""
        return await self._proofs.posture(digest)


def _proof_view(target: Target, proof: Proof | None) -> ProofView:
    return ProofView(
        image=target.image,
        runtime=target.runtime,
        held=None if proof is None else not proof.findings,
        posture=None if proof is None else proof.posture.digest,
        tested_at=None if proof is None else parse(_at(proof)),
        findings=[] if proof is None else list(proof.findings),
        trials=[] if proof is None else _trial_views(proof),
    )


def _trial_views(proof: Proof) -> list[TrialView]:
    return [TrialView(name=trial.name, held=trial.held, detail=trial.detail) for trial in proof.trials]


def _at(proof: Proof) -> str:
    return stamp(datetime.fromtimestamp(proof.at, UTC))
