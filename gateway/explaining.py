"""What a policy decides about a request, decision by decision, with the line of the file that made each.

Pure. It decides nothing itself: each answer is that of the function which decides when the request comes. What only a
run of the checks can tell (syntax, types, whether Monty runs a program exactly) is left open and said to be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Final, TypeVar, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, JsonValue
from pydantic.fields import FieldInfo

from gateway.holding import held
from gateway.limits import FORMATS, LimitsRequest, amounts_of
from gateway.policy import DEFAULT_PROFILE, CheckMode, Policy, Profile, closest
from gateway.policy_flaws import Path
from gateway.policy_keys import Key
from gateway.policy_shape import ProfileBody
from gateway.quantities import (
    format_cores,
    format_keeping,
    format_seconds,
    format_size,
    parse_cores,
    parse_keeping,
    parse_seconds,
    parse_size,
    shown,
)
from gateway.requests import ExecutionRequest, ExplainRequest
from gateway.resources import effective, lacks_room, lane_of, limits_of, memory_max_bytes, wrong_with_declaration
from gateway.script_block import LIMITS, Declared, declared, may_declare
from gateway.source import Unreadable, imports, nesting, parse
from gateway.wire_answers import LimitSource
from gateway.wire_policy import Decision, ExplanationView, Made
from sandbox.job import Limits

T = TypeVar("T")


BUILT_IN: Final = "built in"
"""The place of what no line says."""

_FORMATS: Final[dict[Callable[[object], object], Callable[[float], str]]] = {
    parse_cores: format_cores,
    parse_size: format_size,
    parse_seconds: format_seconds,
    parse_keeping: format_keeping,
}
_KEYS: Final[dict[str, str]] = {limit: key for key, limit in LIMITS.items()}  # of limits, as programs declare them


def explain(policy: Policy, profile_name: str, *, key: Key | None, request: ExecutionRequest | None) -> list[Decision]:
    """Every decision about `request` of the caller with `key`, then all that binds such a caller.

    Without `request` the second part alone; KeyError for a profile that there is not.
    """
    profile = policy.resolve(profile_name)
    return [
        *_caller(policy, profile, key),
        *(_request(policy, profile, request) if request else ()),
        *_binding(policy, profile),
    ]


def explanation(policy: Policy, asked: ExplainRequest) -> ExplanationView:
    """What is asked for; KeyError with what to say for a key or a profile that the policy has not."""
    key = _named(asked.key, {key.name: key for key in policy.keys}, "key") if asked.key is not None else None
    name = asked.profile or (key.profile if key else DEFAULT_PROFILE)
    profile = _named(name, policy.profiles, "profile")
    return ExplanationView(
        policy=policy.name,
        profile=profile.name,
        digest=profile.digest,
        decisions=explain(policy, profile.name, key=key, request=asked.request),
    )


def _named(name: str, there: Mapping[str, T], kind: str) -> T:
    if name in there:
        return there[name]
    near = closest(name, there)
    told = f"did you mean {near}?" if near else f"there are {', '.join(there) or 'none'}"
    raise KeyError(f"{shown(name)} is not a {kind} of this policy ({told})")


def recorded(document: Mapping[str, JsonValue]) -> list[Decision]:
    """What a recorded profile says, key by key; its places are gone with its file. Also of a version that had other keys."""
    said = _flat(document, (), Profile)
    return [
        Decision(decision=dotted(path), value=value, why="", made=[]) for path, value in said if path != ("version",)
    ]


def _flat(value: JsonValue | Mapping[str, JsonValue], path: Path, form: object) -> Iterator[tuple[Path, str]]:
    fields = form.model_fields if isinstance(form, type) and issubclass(form, BaseModel) else {}
    if isinstance(value, Mapping):
        for key, inside in value.items():
            yield from _flat(inside, (*path, key), _form(fields.get(key)))
    else:
        yield path, _shown(tuple(value) if isinstance(value, list) else value, form)


def _form(field: FieldInfo | None) -> object:
    """What tells how a key's value is written: its model, or all of its annotation."""
    kind = field.annotation if field else None
    if field is None or (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return kind
    return (kind, *field.metadata)


def dotted(path: Path) -> str:
    """Write a path as the README and the messages have it: `keys[0].profile`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _caller(policy: Policy, profile: Profile, key: Key | None) -> Iterator[Decision]:
    yield Decision(decision="policy", value=policy.name, why="", made=[_file(policy, ("name",), policy.name)])
    if key is not None:
        where = ("keys", policy.keys.index(key))
        tenant = key.tenant or f"that the claim {key.jwt.tenant_claim if key.jwt else ''} names"
        why = f"the key {key.name} acts for the tenant {tenant} as {', '.join(sorted(key.roles))}"
        made = [_file(policy, (*where, "profile"), key.profile)]
        yield Decision(decision="profile", value=profile.name, why=why, made=made)
    else:
        made = [_file(policy, ("profiles", profile.name), profile.name)]
        yield Decision(decision="profile", value=profile.name, why="no key is asked about", made=made)


def _request(policy: Policy, profile: Profile, request: ExecutionRequest) -> Iterator[Decision]:
    yield from _text(policy, profile, request)
    yield from _imports(policy, profile, request)
    wrong = wrong_with_declaration(request, profile, None, ruled=False) if may_declare(request.code) else ()
    for finding in wrong:
        line = [Made(key="code", value="", place=f"line {finding.line} of the program")] if finding.line else []
        yield Decision(decision="declared", value="refused", why=finding.message, made=line)
    yield from _limits(policy, profile, request)
    yield from _lane(policy, profile, request)
    hold = held(profile, request)
    when = profile.review.when
    yield Decision(
        decision="review before it runs",
        value="yes" if hold else "no",
        why="; ".join(finding.message for finding in hold[1]) if hold else "nothing of it is for a person to see first",
        made=[_made(policy, profile, ("review", "when"), ", ".join(when))],
    )


def _text(policy: Policy, profile: Profile, request: ExecutionRequest) -> Iterator[Decision]:
    size = len(request.code.removeprefix("\ufeff").encode())
    most = profile.checks.source_size
    yield Decision(
        decision="source size",
        value="admitted" if size <= most else "refused",
        why=f"the program has {size} bytes; {format_size(most)} are allowed",
        made=[_made(policy, profile, ("checks", "source_size"), format_size(most))],
    )


def _imports(policy: Policy, profile: Profile, request: ExecutionRequest) -> Iterator[Decision]:
    tree = parse(request.code.removeprefix("\ufeff"))
    if isinstance(tree, Unreadable):
        why = f"the gateway's Python cannot read it: {tree.message}"
        yield Decision(decision="imports", value="unknown", why=why, made=[])
        return
    depth, most = nesting(tree), profile.checks.nesting
    if depth > most:
        made = [_made(policy, profile, ("checks", "nesting"), str(most)), _mode(policy, profile)]
        why = f"functions are nested {depth} deep"
        yield Decision(decision="nesting", value=_broken("refused", profile), why=why, made=made)
    rules = profile.checks.imports
    allow = _made(policy, profile, ("checks", "imports", "allow"), _shown(rules.allow, None))
    deny = _made(policy, profile, ("checks", "imports", "deny"), _shown(rules.deny, None))
    for one in dict.fromkeys(found.module for found in imports(tree)):
        names = _with_parents(one)
        denied, unlisted = not names.isdisjoint(rules.deny), not rules.admits(one)
        why = "deny names it" if denied else "allow does not name it" if unlisted else "nothing is against it"
        broken = denied or unlisted
        value = _broken("denied", profile) if broken else "admitted"
        made = [deny if denied else allow, *([_mode(policy, profile)] if broken else [])]
        yield Decision(decision=f"import {one}", value=value, why=why, made=made)


def _broken(value: str, profile: Profile) -> str:
    """What becomes of a broken rule."""
    mode = profile.checks.mode
    return value if mode is CheckMode.ENFORCE else f"would be {value}, and runs all the same"


def _mode(policy: Policy, profile: Profile) -> Made:
    return _made(policy, profile, ("checks", "mode"), profile.checks.mode)


def _with_parents(module: str) -> set[str]:
    parts = module.split(".")
    return {".".join(parts[: end + 1]) for end in range(len(parts))}


def _limits(policy: Policy, profile: Profile, request: ExecutionRequest) -> Iterator[Decision]:
    granted = limits_of(profile, request)
    refused = {} if isinstance(granted, Limits) else {one.field: one for one in granted}
    got = granted if isinstance(granted, Limits) else None
    amounts = amounts_of(got) if got else {}
    found = effective(profile, request, got, source="agent").sources.items() if got else ()
    sources: dict[str, LimitSource] = {limit: source for limit, source in found}  # noqa: C416  # of any name
    code = declared(request.code)
    for limit, span in profile.limits:
        show = FORMATS[limit]
        bounds = [
            _made(policy, profile, ("limits", limit, "default"), show(span.default)),
            _made(policy, profile, ("limits", limit, "max"), show(span.max)),
            _file(policy, ("ceilings", limit), show(getattr(policy.ceilings, limit))),
        ]
        value = show(amounts[limit]) if limit in amounts else "refused" if limit in refused else "not granted"
        why = refused[limit].message if limit in refused else _source_words(sources.get(limit), limit, code)
        asked = _asked(request, code, limit)
        yield Decision(decision=f"limits.{limit}", value=value, why=why, made=[*asked, *bounds])
    if got and (short := lacks_room(request, got)):
        yield Decision(decision="files", value="refused", why=short, made=[])
    most = memory_max_bytes(profile, request)
    yield Decision(
        decision="more memory by the platform",
        value=f"up to {format_size(most)}" if most else "no",
        why="" if most or not profile.retries.memory else "the request or the program says how much it gets",
        made=[_made(policy, profile, ("retries", "memory"), _shown(profile.retries.memory, None))],
    )


def _source_words(source: LimitSource | None, limit: str, code: Declared) -> str:
    if source == "code":
        return f"the program declares it in line {code.line(_KEYS.get(limit, limit))}"
    if source == "request":
        return "the request asks for it"
    return "the default: nothing else is asked for" if source == "default" else "another limit is refused"


def _asked(request: ExecutionRequest, code: Declared, limit: str) -> list[Made]:
    """What the request or the program asks for."""
    sources: tuple[tuple[str, LimitsRequest | None, str], ...] = (
        ("request.limits", request.limits, "the request"),
        ("tool.airlock", code.limits, f"line {code.line(_KEYS.get(limit, limit))} of the program"),
    )
    return [
        Made(key=f"{where}.{limit}", value=FORMATS[limit](amount), place=place)
        for where, limits, place in sources
        if limits is not None and (amount := getattr(limits, limit)) is not None
    ]


def _lane(policy: Policy, profile: Profile, request: ExecutionRequest) -> Iterator[Decision]:
    lane, monty = lane_of(request), profile.lanes.monty
    fed = request.stdin or request.args or request.env or request.files or request.outputs
    if lane == "container" or not monty or fed:
        why = (
            "the policy has the Monty lane switched off"
            if not monty
            else "it is asked for"
            if lane == "container"
            else "the request has stdin, args, env, files or outputs"
        )
        value = "container" if lane != "monty" else "refused: what Monty cannot run exactly may not run elsewhere"
    else:
        value = "monty, or container" if lane == "auto" else "monty, or refused"
        why = "whether Monty runs it exactly is found by the checks"
    made = [_made(policy, profile, ("lanes", "monty"), _shown(monty, None))]
    yield Decision(decision="lane", value=value, why=why, made=made)


def _binding(policy: Policy, profile: Profile) -> Iterator[Decision]:
    """Every key of the profile, and the ceilings."""
    sections = {name: getattr(profile, name) for name in ProfileBody.model_fields}
    for name, section in sections.items():
        for path, value in leaves(section, (name,), None):
            made = [_made(policy, profile, path, value)]
            yield Decision(decision=dotted(path), value=value, why="", made=made)
    for path, value in leaves(policy.ceilings, ("ceilings",), None):
        yield Decision(decision=dotted(path), value=value, why="", made=[_file(policy, path, value)])


def leaves(value: object, path: Path, form: object) -> Iterator[tuple[Path, str]]:
    """Every key that holds a value, with the value as a file has it."""
    if isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            yield from leaves(getattr(value, name), (*path, name), _form(field))
    else:
        yield path, _shown(value, form)


def _shown(value: object, form: object) -> str:
    write = next((_FORMATS[one] for one in _parsers(form) if one in _FORMATS), None)
    if write is format_keeping or (write is not None and isinstance(value, int | float)):
        return write(value)  # type: ignore[arg-type]  # what its own parser made
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or value is None:
        return "left out" if value is None else str(value).lower()
    if not isinstance(value, tuple | frozenset):
        return str(value)
    items = [one.model_dump_json() if isinstance(one, BaseModel) else str(one) for one in value]
    return f"[{', '.join(sorted(items) if isinstance(value, frozenset) else items)}]"


def _parsers(form: object) -> Iterator[Callable[[object], object]]:
    """The functions that read a key's text, however deep its annotation has them."""
    if isinstance(form, BeforeValidator):
        yield form.func  # type: ignore[misc]  # ours take one argument
    inside = form if isinstance(form, tuple) else get_args(form)
    if get_origin(form) is Annotated:
        inside = (*get_args(form)[:1], *getattr(form, "__metadata__", ()))
    for one in inside:
        yield from _parsers(one)


def _made(policy: Policy, profile: Profile, path: Path, value: str) -> Made:
    """A value of the profile, and the line that says it."""
    where = policy.said_at(profile.name, path)
    return Made(key=dotted(where or path), value=value, place=_place(policy, where))


def _file(policy: Policy, path: Path, value: str) -> Made:
    """A value that is no profile's, and the line that says it."""
    return Made(key=dotted(path), value=value, place=_place(policy, path))


def _place(policy: Policy, where: Path | None) -> str:
    return policy.places.get(where, BUILT_IN) if where is not None else BUILT_IN
