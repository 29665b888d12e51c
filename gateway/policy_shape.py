"""The shape of a policy: the file as a whole, and a profile with nothing left open. The sections have rooms of their own.

Pure. Each model judges its own values; whether they agree with each other is `gateway.policy`'s to say.
Must not know YAML, files, the clock or the environment.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Annotated, Final

from pydantic import AfterValidator, Field, StrictInt, WithJsonSchema
from pydantic_core import PydanticCustomError

from gateway.policy_keys import Console, Key, Quotas, Rates
from gateway.policy_notices import Mail, Webhook
from gateway.policy_programs import Cache, Checks, Isolation, Lanes, LimitRanges, Retention, Retries, Telemetry
from gateway.policy_reviews import Budget, Costs, ReviewRules
from gateway.policy_words import Closed, Name, Url
from gateway.quantities import GIB, MIB, Cores, Count, Seconds, Size, shown

LANGUAGE_VERSION: Final = 1


def _known(version: int) -> int:
    if version == LANGUAGE_VERSION:
        return version
    raise PydanticCustomError("version", "{problem}", {"problem": f"{shown(version)} is not a known version (write 1)"})


class Engine(Closed):
    """The container engine, shared by everybody.

    `memory` (bytes) is what the limits of all boxes may add up to; None is four fifths of the engine's machine.
    `queue` programs wait at most, none longer than `queue_age` seconds. Retries add at most `retry_share` to the load.
    """

    boxes: Count = 8
    spares: Annotated[int, Field(strict=True, ge=0, le=100)] = 2
    memory: Size | None = None
    queue: Count = 1000
    queue_age: Seconds = 60.0
    retry_share: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.2


class Ceilings(Closed):
    """What nobody passes: no profile, no request, no reviewer. Cores, bytes and seconds."""

    cpu: Cores = 4.0
    memory: Size = 4 * GIB
    time: Seconds = 1800.0
    pids: Count = 1024
    disk: Size = 2 * GIB
    output: Size = 16 * MIB
    grants_per_task: Annotated[int, Field(strict=True, ge=0, le=1000)] = 2
    failures: Annotated[int, Field(strict=True, ge=1, le=1000)] = 12


class ProfileBody(Closed):
    """The sections of a profile. In the file every one of them, and every key in them, may be left out."""

    checks: Checks = Checks()
    lanes: Lanes = Lanes()
    isolation: Isolation = Isolation()
    limits: LimitRanges = LimitRanges()
    retries: Retries = Retries()
    budget: Budget = Budget()
    costs: Costs = Costs()
    review: ReviewRules = ReviewRules()
    rates: Rates = Rates()
    quotas: Quotas = Quotas()
    cache: Cache = Cache()
    retention: Retention = Retention()
    telemetry: Telemetry = Telemetry()


class ProfileEntry(ProfileBody):
    """A profile as the file has it: what it changes of its parent, or of `defaults`."""

    extends: Name | None = None


class PolicyDocument(Closed):
    """The file as a whole, not yet resolved: each value is sound, together they may still contradict."""

    version: Annotated[StrictInt, AfterValidator(_known), WithJsonSchema({"const": LANGUAGE_VERSION})]
    name: Name | None = None
    engine: Engine = Engine()
    ceilings: Ceilings = Ceilings()
    defaults: ProfileBody = ProfileBody()
    profiles: dict[Name, ProfileEntry] = Field(default_factory=dict)
    keys: tuple[Key, ...] = ()
    webhooks: tuple[Webhook, ...] = ()
    mail: Mail | None = None
    public_url: Url | None = None
    console: Console = Console()


class Profile(ProfileBody):
    """A profile with nothing left open: what binds one caller's programs, and the ceilings above it."""

    name: Name
    policy: str = ""  # its policy's name; empty in what was recorded before names were
    ceilings: Ceilings

    @cached_property
    def document(self) -> str:
        """Canonical JSON of all that decides (bytes, seconds, cores); not the names and who is told, which decide nothing."""
        decides = {"version": LANGUAGE_VERSION, **self.model_dump(mode="json", exclude={"name", "policy"})}
        for part in (decides["review"], *decides["review"]["escalate"]):
            del part["notify"]
        return json.dumps(decides, sort_keys=True, separators=(",", ":"))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of `document`, 64 hexadecimal digits."""
        return hashlib.sha256(self.document.encode()).hexdigest()
