"""The shape of a policy: every key that a policy file may have, its type, its range and its built-in value.

Pure. Each model judges its own values; whether they agree with each other is `gateway.policy`'s to say.
Must not know YAML, files, the clock or the environment.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Final, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StrictBool,
    StrictInt,
    StrictStr,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from gateway.callers import Role, digest_of
from gateway.events import EscalationReason, RulingKind
from gateway.quantities import GIB, KIB, MIB, Cores, Count, Keeping, Seconds, Size, shown
from sandbox.job import Cell

LANGUAGE_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class _Matching:
    """Accepts text that matches `pattern` as a whole; refuses the rest with what it should be."""

    pattern: str
    says: str
    secret: bool = False

    def __get_pydantic_core_schema__(self, source: type[str], handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(core), "pattern": f"^(?:{self.pattern})$"}

    def _check(self, text: str) -> str:
        if re.fullmatch(self.pattern, text, re.ASCII):
            return text
        raise PydanticCustomError(
            "text", "{problem}", {"problem": f"{'this' if self.secret else shown(text)} is not {self.says}"}
        )


def _sorted(items: tuple[str, ...]) -> tuple[str, ...]:
    """One order for one meaning, so that equal profiles have equal digests."""
    return tuple(sorted(set(items)))


_WordT = TypeVar("_WordT", bound=StrEnum)


def _sorted_words(items: tuple[_WordT, ...]) -> tuple[_WordT, ...]:
    """As `_sorted`, of words that are one of a few."""
    return tuple(sorted(set(items)))


def _somebody(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise PydanticCustomError("to", "a level needs at least one name")
    return _sorted(names)


def _of_something(sha256: str) -> str:
    """Refuse the digest of an empty key, which is what hashing an unset variable gives."""
    if sha256 == digest_of(""):
        raise PydanticCustomError("sha256", "this is the SHA-256 of nothing: the key was empty when it was hashed")
    return sha256


def _known(version: int) -> int:
    if version == LANGUAGE_VERSION:
        return version
    raise PydanticCustomError("version", "{problem}", {"problem": f"{shown(version)} is not a known version (write 1)"})


def _something(kinds: frozenset[NoticeKind]) -> frozenset[NoticeKind]:
    if not kinds:
        raise PydanticCustomError("events", "a webhook needs at least one kind of event")
    return kinds


def _one_side(roles: frozenset[Role]) -> frozenset[Role]:
    if not roles:
        raise PydanticCustomError("roles", "a key needs at least one role")
    if {Role.AGENT, Role.REVIEWER} <= roles:
        raise PydanticCustomError("roles", "one key cannot be agent and reviewer: an agent's key can never rule")
    return roles


Name = Annotated[
    StrictStr, _Matching(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", "a name (64 letters, digits, - and _ at most)")
]
"""What operators call a policy, a profile, a key or a tenant."""
_Person = Annotated[
    StrictStr,
    _Matching(
        r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}|@[0-9a-f]{40}",
        "a person (64 letters, digits, ., _, @ and - at most), or what follows the dot where the record names their tokens",
    ),
]
"""Whose keys they are: a name, or the subject of their tokens as callers are named by it."""
_Module = Annotated[StrictStr, _Matching(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", "a module's name (write os or os.path)")]
_Runtime = Annotated[
    StrictStr, _Matching(r"[A-Za-z0-9][\w.-]{0,63}", "a runtime's name (as the engine has it: runc, runsc)")
]
_Image = Annotated[StrictStr, _Matching(r"[A-Za-z0-9][\w.:/@-]{0,254}", "an image (write name:tag or name@sha256:...)")]
# A value that is not a digest may be the API key itself, so no message repeats it.
_Sha256 = Annotated[
    StrictStr,
    _Matching("[0-9a-f]{64}", "the SHA-256 of a key (64 hexadecimal digits, lower case)", secret=True),
    AfterValidator(_of_something),
]
_Package = Annotated[
    StrictStr,
    _Matching(r"[A-Za-z0-9]([\w.-]{0,62}[A-Za-z0-9])?(==[\w.!+-]{1,64})?", "a package (write numpy or numpy==2.1.0)"),
]
_Packages = Annotated[tuple[_Package, ...], AfterValidator(_sorted)]
# A token may stand in an address, and in a path of a secret's nothing but the path: no message repeats the first.
_Url = Annotated[
    StrictStr,
    _Matching(
        r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?(/[!-\"$-~]*)?",
        "an address (write https://host/path, without a user and without #)",
        secret=True,
    ),
]
# What stands in place of a name or a path may be the secret itself.
_Variable = Annotated[
    StrictStr,
    _Matching(
        r"[A-Za-z_][A-Za-z0-9_]{0,127}",
        "the name of an environment variable (the secret belongs into the variable, not here)",
        secret=True,
    ),
]
_File = Annotated[
    StrictStr,
    _Matching(
        r"/[^\x00]{1,4095}", "the absolute path of a file (the secret belongs into the file, not here)", secret=True
    ),
]
_Word = Annotated[StrictStr, _Matching(r"[!-~]([ -~]{0,510}[!-~])?", "a word (1 to 512 visible ASCII characters)")]
_Scope = Annotated[StrictStr, _Matching(r"[!#-\[\]-~]{1,64}", "a scope (visible ASCII, without blanks and quotes)")]
_Claim = Annotated[StrictStr, _Matching(r"[!-~]{1,256}", "the name of a claim (visible ASCII, without blanks)")]
Recipient = Annotated[
    StrictStr,
    _Matching(
        r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}|[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63}){0,8}",
        "the name of a webhook, or a mail address (write ann@example.org)",
    ),
]
"""Who is told: a webhook of the policy, by its name, or a mail address."""
_Recipients = Annotated[tuple[Recipient, ...], AfterValidator(_sorted)]
_Host = Annotated[StrictStr, _Matching(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?|[0-9A-Fa-f:]{2,45}", "a host")]
_Address = Annotated[
    StrictStr,
    _Matching(
        r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63}){0,8}",
        "a mail address (write ann@example.org)",
    ),
]
_Modules = Annotated[tuple[_Module, ...], AfterValidator(_sorted)]


class _Closed(BaseModel):
    """Unknown keys are errors; nothing changes after it was read; errors do not quote what they refuse."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Engine(_Closed):
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


class Ceilings(_Closed):
    """What nobody passes: no profile, no request, no reviewer. Cores, bytes and seconds."""

    cpu: Cores = 4.0
    memory: Size = 4 * GIB
    time: Seconds = 1800.0
    pids: Count = 1024
    disk: Size = 2 * GIB
    output: Size = 16 * MIB
    grants_per_task: Annotated[int, Field(strict=True, ge=0, le=1000)] = 2
    failures: Annotated[int, Field(strict=True, ge=1, le=1000)] = 12


class Imports(_Closed):
    """Which modules a program may import. `allow` None is every module; `deny` wins."""

    allow: _Modules | None = None
    deny: _Modules = ()

    def admits(self, module: str) -> bool:
        """Whether `module` (dotted) may be imported; a rule for a package holds for all below it.

        For `from os import path` ask for `os.path`: nobody can tell from the outside whether it is a module.
        """
        parts = module.split(".")
        names = {".".join(parts[: end + 1]) for end in range(len(parts))}
        return names.isdisjoint(self.deny) and (self.allow is None or not names.isdisjoint(self.allow))


class TypeCheck(StrEnum):
    """What becomes of Monty's type findings. They are never a reason to refuse a program."""

    WARN = "warn"
    SKIP = "skip"


class CheckMode(StrEnum):
    """What becomes of a program that breaks a rule of the checks, and that could run in a box all the same."""

    ENFORCE = "enforce"  # it is refused
    WARN = "warn"  # it runs, and its caller is told
    AUDIT = "audit"  # it runs, and only the record and the reviewers are told


class Checks(_Closed):
    """What happens before anything runs. A guardrail: the container is the boundary.

    `mode` says what becomes of findings of the rules that bind text alone; what no Python could run is always refused.
    Monty's compile time grows about 2.8 times with every nested function: 0.2 s at 14, more than 8 s at 18.
    """

    mode: CheckMode = CheckMode.ENFORCE
    imports: Imports = Imports()
    type_check: TypeCheck = TypeCheck.WARN
    source_size: Size = 256 * KIB
    nesting: Annotated[int, Field(strict=True, ge=1, le=14)] = 10


class Lanes(_Closed):
    """Where programs may run besides the container.

    `shadow` is the share of the runs in Monty that are made again in a container, and compared.
    """

    monty: StrictBool = True
    monty_time: Seconds = 1.0
    shadow: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.0


class IsolationMode(StrEnum):
    """What a program does not share with any other."""

    CONTAINER = "container"  # a box of its own
    CELL = "cell"  # namespaces of its own, in a box that its tenant's programs use one after the other


class Isolation(_Closed):
    """The box. `runtime` None is the engine's default; `preload` are modules that a cell imports before any program.

    `packages` are the distributions that the image has besides the standard library, with or without their version.
    """

    mode: IsolationMode = IsolationMode.CONTAINER
    preload: _Modules = ()
    image: _Image = "airlock-guest:latest"
    packages: _Packages = ()
    runtime: _Runtime | None = None

    def cell(self, owner: str) -> Cell | None:
        """The cell of `owner`, where programs run in cells."""
        return Cell(owner, self.preload) if self.mode is IsolationMode.CELL else None


class CpuRange(_Closed):
    """Cores."""

    default: Cores = 1.0
    max: Cores = 2.0


class MemoryRange(_Closed):
    """Bytes, with everything in the box counted: guest, program, page cache and the files on `disk`."""

    default: Size = 256 * MIB
    max: Size = GIB


class TimeRange(_Closed):
    """Seconds on the wall clock."""

    default: Seconds = 30.0
    max: Seconds = 300.0


class PidsRange(_Closed):
    """Processes and threads."""

    default: Count = 64
    max: Count = 256


class DiskRange(_Closed):
    """Bytes of tmpfs; they count as memory, so a disk as large as the memory ends in out_of_memory, not in ENOSPC."""

    default: Size = 64 * MIB
    max: Size = 512 * MIB


class OutputRange(_Closed):
    """Bytes kept of stdout, of stderr and of the result, each."""

    default: Size = 256 * KIB
    max: Size = 4 * MIB


class LimitRanges(_Closed):
    """What a program gets without asking (`default`), and what it may ask for (`max`)."""

    cpu: CpuRange = CpuRange()
    memory: MemoryRange = MemoryRange()
    time: TimeRange = TimeRange()
    pids: PidsRange = PidsRange()
    disk: DiskRange = DiskRange()
    output: OutputRange = OutputRange()


class Retries(_Closed):
    """The platform's own tries of one execution (the first included), and the waits between them in seconds.

    `memory`: what ran out of it is tried again with more, up to the limit's `max`.
    """

    attempts: Annotated[int, Field(strict=True, ge=1, le=10)] = 3
    base: Seconds = 0.5
    cap: Seconds = 30.0
    memory: StrictBool = True


class Budget(_Closed):
    """What a task may fail before a person looks.

    Programs without a task id share one task per caller. Being unrelated, three failures in a row say little of
    them; after `anonymous_window` seconds the next one starts a fresh task, unless a review is open.
    """

    failures_in_a_row: Count = 3
    failures_total: Count = 12
    same_failure: Count = 3
    anonymous_failures_in_a_row: Count = 12
    anonymous_window: Seconds = 3600.0


class Costs(_Closed):
    """What one failure is charged; everything that is not named costs 1."""

    policy_denied: Annotated[int, Field(strict=True, ge=1, le=1000)] = 2


class Level(_Closed):
    """Who is asked besides, where nobody decided within `after` seconds of the review's opening; and who is told then.

    `to` are keys, their owners or roles. `notify` None is who is told of the opening.
    """

    after: Seconds
    to: Annotated[tuple[Name, ...], AfterValidator(_somebody)]
    notify: _Recipients | None = None


class ReviewRules(_Closed):
    """When a person is asked, who, and how many have to agree; how long (seconds) it stays open, and who is told.

    `reviewers` empty is every reviewer of the tenant. A program whose agent says less than `confidence` of it is shown
    before it runs, where `when` says so. `remember` is how long a yes answers the same question; None: not at all.
    """

    when: Annotated[tuple[EscalationReason, ...], AfterValidator(_sorted_words)] = (
        EscalationReason.BUDGET_EXHAUSTED,
        EscalationReason.STUCK,
    )
    confidence: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.5
    reviewers: Annotated[tuple[Name, ...], AfterValidator(_sorted)] = ()
    approvals: Annotated[int, Field(strict=True, ge=1, le=2)] = 1
    four_eyes: Annotated[
        tuple[Literal[RulingKind.APPROVE_EDITED, RulingKind.RAISE_LIMITS], ...], AfterValidator(_sorted_words)
    ] = ()
    grants_per_task: Annotated[int, Field(strict=True, ge=0, le=1000)] = 2
    remember: Seconds | None = None
    expires: Seconds = 86400.0
    escalate: tuple[Level, ...] = ()
    notify: _Recipients = ()


class Rates(_Closed):
    """What one key may do: requests a minute, how many at once above that pace; executions and streams at the same time."""

    requests: Count = 60_000
    burst: Count = 2_000
    executions: Count = 256
    streams: Count = 256


class Quotas(_Closed):
    """What one key may have in a day of UTC: programs, and seconds of CPU time; None is as much as there is."""

    executions: Annotated[int, Field(strict=True, ge=1, le=1_000_000_000)] | None = None
    cpu: Seconds | None = None


class CacheScope(StrEnum):
    """Whose earlier result may answer a program that comes to the same each time."""

    NONE = "none"  # nobody's
    TENANT = "tenant"  # its own tenant's
    SHARED = "shared"  # that of any tenant with an equal profile


class Cache(_Closed):
    """Whether results are used again."""

    scope: CacheScope = CacheScope.NONE


_DAY: Final = 86400.0


class Retention(_Closed):
    """How many seconds after its answer what belongs to an execution is kept; None is for ever. The log always is.

    `keys` is the time in which an idempotency key stands for its execution. The policy of the day of deletion counts.
    """

    code: Keeping = 30 * _DAY
    output: Keeping = 30 * _DAY
    files: Keeping = 7 * _DAY
    keys: Keeping = 7 * _DAY


class Telemetry(_Closed):
    """What traces tell. `content`: the task's name, code, inputs and output too, of each the first `content_size` bytes."""

    content: StrictBool = False
    content_size: Size = 4 * KIB


class ProfileBody(_Closed):
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


class Jwt(_Closed):
    """The tokens of an identity provider that open as this key: signed by it, for us, with these claims."""

    issuer: _Word
    audience: _Word
    keys_file: _File
    claims: dict[_Claim, _Word] = Field(default_factory=dict)
    tenant_claim: _Claim | None = None


class Key(_Closed):
    """A key, known by its SHA-256 only, or the tokens that stand for one; whose it is, and what it may do.

    `owner` is the person behind several keys: nobody rules on a program of another key of theirs.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [{"required": ["sha256"]}, {"required": ["jwt"]}],
            "dependentSchemas": {"sha256": {"required": ["tenant"]}},
        }
    )

    name: Name
    sha256: _Sha256 | None = None
    jwt: Jwt | None = None
    owner: _Person | None = None
    tenant: Name | None = None
    profile: Name
    roles: Annotated[frozenset[Role], AfterValidator(_one_side)]

    @model_validator(mode="after")
    def _whole(self) -> Key:
        if (self.sha256 is None) is (self.jwt is None):
            raise PydanticCustomError("key", "a key needs its sha256, or else jwt: write one of them")
        if (self.tenant is None) is (self.jwt is None or self.jwt.tenant_claim is None):
            raise PydanticCustomError("tenant", "a key needs a tenant, or else jwt.tenant_claim: write one of them")
        return self


class NoticeKind(StrEnum):
    """What webhooks can be told."""

    EXECUTION_FINISHED = "execution.finished"
    REVIEW_OPENED = "review.opened"
    REVIEW_ESCALATED = "review.escalated"
    REVIEW_DECIDED = "review.decided"
    TASK_CLOSED = "task.closed"


class Webhook(_Closed):
    """Where the operator wants to be told what. Either `secret_env` or `secret_file` names where the secret is.

    `attempts` counts the first; `base` and `cap` bound the waits between them, `timeout` each of them (seconds).
    """

    name: Name
    url: _Url
    secret_env: _Variable | None = None
    secret_file: _File | None = None
    events: Annotated[frozenset[NoticeKind], AfterValidator(_something)] = frozenset(NoticeKind)
    tenants: frozenset[Name] | None = None
    attempts: Annotated[int, Field(strict=True, ge=1, le=20)] = 8
    base: Seconds = 5.0
    cap: Seconds = 43200.0
    timeout: Seconds = 10.0


class Tls(StrEnum):
    """How the way to the mail server is kept private."""

    STARTTLS = "starttls"  # or nothing is sent
    TLS = "tls"  # from the first byte
    NONE = "none"


class Mail(_Closed):
    """The mail server, and how mails look. None are sent without it. Times are as a webhook's."""

    host: _Host
    port: Annotated[int, Field(strict=True, ge=1, le=65535)] = 587
    tls: Tls = Tls.STARTTLS
    user: Annotated[StrictStr, _Matching(r"[!-~]{1,254}", "a user (no blanks, ASCII)")] | None = None
    password_env: _Variable | None = None
    password_file: _File | None = None
    sender: _Address = Field(alias="from")
    attempts: Annotated[int, Field(strict=True, ge=1, le=20)] = 8
    base: Seconds = 5.0
    cap: Seconds = 43200.0
    timeout: Seconds = 30.0


class OidcClient(_Closed):
    """The identity provider at which people log in to the console, and what the gateway is called there.

    Who somebody is then, the entries of `keys` say that have this issuer and this client as audience. Either
    `client_secret_env` or `client_secret_file` names where the secret is. `scopes` are asked for besides `openid`.
    """

    issuer: _Url
    client_id: _Word
    client_secret_env: _Variable | None = None
    client_secret_file: _File | None = None
    scopes: Annotated[tuple[_Scope, ...], AfterValidator(_sorted)] = ()


class Console(_Closed):
    """How people come to the console, besides with a key."""

    oidc: OidcClient | None = None


class PolicyDocument(_Closed):
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
    public_url: _Url | None = None
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
