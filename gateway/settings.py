"""What the environment says: the only reader of it.

Owns the names of the variables and what their values mean. Must not know what the gateway does with them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

_PREFIX = "AIRLOCK_"
_KNOWN = ("LISTEN", "DATA", "POLICY", "DATABASE_URL", "LOG", "LOG_FORMAT", "URL", "KEY")
_OF_SCRIPTS = ("AIRLOCK_CACHE", "AIRLOCK_TEST_", "AIRLOCK_SECRET_")  # and the policy's, who may call its secrets so
_HIGHEST_PORT = 65535
_LONGEST_SECRET = 4096
_PROTOCOL = "http/protobuf"
_OTEL = (
    "EXPORTER_OTLP_ENDPOINT",
    "EXPORTER_OTLP_TRACES_ENDPOINT",
    "EXPORTER_OTLP_PROTOCOL",
    "EXPORTER_OTLP_TRACES_PROTOCOL",
    "SDK_DISABLED",
    "TRACES_EXPORTER",
    "SEMCONV_STABILITY_OPT_IN",
)
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # named to be told apart, not to be bound


class StartError(Exception):
    """The gateway does not start like this; the message is for its operator."""


class SettingsError(StartError):
    """A variable of the environment is wrong."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; `host` without brackets."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it. A name other than `localhost` could mean anything."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def url(self) -> str:
        """Where a client on the same machine finds it."""
        host = _WILDCARDS.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def _address(text: object) -> Address:
    if isinstance(text, Address):
        return text
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^\[\]:\s/]+)):([0-9]{1,5})", str(text))
    if not match or int(match[3]) > _HIGHEST_PORT:
        raise ValueError("must be host:port, an IPv6 address in brackets: 127.0.0.1:8080, [::1]:8080")
    return Address(match[1] or match[2], int(match[3]))


def _default_policy() -> Path:
    """The shipped policy: inside the package where it is installed, beside it in a checkout."""
    here = Path(__file__).resolve().parent
    installed = here / "policies" / "default.yaml"
    return installed if installed.exists() else here.parent / "policies" / "default.yaml"


_Absolute = Annotated[Path, AfterValidator(Path.absolute)]
_ADDRESS = Address("127.0.0.1", 8080)


class _Environment(BaseSettings):
    # An empty variable is an unset one: compose files pass `${AIRLOCK_KEY:-}`.
    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    listen: Annotated[Address, NoDecode, BeforeValidator(_address)] = _ADDRESS
    data: _Absolute = Field(default_factory=lambda: Path("data").absolute())


class Settings(_Environment):
    """What the server is told. `data` is absolute, so that a later change of directory changes nothing."""

    policy: _Absolute = Field(default_factory=_default_policy)
    database_url: Annotated[str | None, Field(pattern=r"^[a-z0-9+]+://", repr=False)] = None
    log: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the gateway."""
        return self.listen.loopback

    @property
    def database(self) -> str:
        """Where the log is kept: SQLite in the data directory where nothing else is said."""
        return self.database_url or f"sqlite:///{self.data / 'airlock.db'}"


class ClientSettings(_Environment):
    """What the command line is told: where the gateway is, and the key to show."""

    url: Annotated[str | None, Field(pattern=r"^https?://[^\s/?#]+/?$")] = None
    key: SecretStr | None = None

    @property
    def base_url(self) -> str:
        """The gateway's address."""
        return (self.url or self.listen.url).rstrip("/")


_Kind = TypeVar("_Kind", bound=_Environment)


def read(kind: type[_Kind]) -> _Kind:
    """Read the environment; raises `SettingsError` that names every variable that is wrong."""
    problems = _unknown(os.environ)  # noqa: TID251  # the one place
    try:
        settings = kind()
    except ValidationError as error:
        wrong = [f"{_PREFIX}{str(one['loc'][0]).upper()}: {_words(one['msg'])}" for one in error.errors()]
        raise SettingsError("\n".join([*wrong, *problems])) from None
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


def secret(variable: str | None, file: str | None) -> str:
    """What stands in a variable or in a file that the policy names; raises `StartError`, which repeats nothing of it."""
    if variable is not None:
        value = os.environ.get(variable, "")  # noqa: TID251  # the one place
        if not value:
            raise StartError(f"The policy wants a secret in the variable {variable}, which is not set.")
        return value
    try:
        with Path(file or "").open("rb") as opened:
            return opened.read(_LONGEST_SECRET).decode("ascii", "replace")
    except OSError as error:
        raise StartError(f"The policy wants a secret in {file}: {error.strerror}.") from None


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What OpenTelemetry's own variables ask for. `gen_ai`: also in the words of the conventions for models' tools."""

    traces: bool
    gen_ai: bool


def telemetry_wanted() -> Telemetry:
    """Whether an endpoint for traces is named. All else the SDK reads itself. Raises `SettingsError`."""
    said = {name: os.environ.get(f"OTEL_{name}", "").strip() for name in _OTEL}  # noqa: TID251  # the one place
    endpoint = said["EXPORTER_OTLP_TRACES_ENDPOINT"] or said["EXPORTER_OTLP_ENDPOINT"]
    off = said["SDK_DISABLED"].lower() == "true" or said["TRACES_EXPORTER"] == "none"
    traces = bool(endpoint) and not off
    protocol = said["EXPORTER_OTLP_TRACES_PROTOCOL"] or said["EXPORTER_OTLP_PROTOCOL"] or _PROTOCOL
    if traces and protocol != _PROTOCOL:
        raise SettingsError(f"OTEL_EXPORTER_OTLP_PROTOCOL: there is {_PROTOCOL} only, not {protocol}")
    if traces and said["TRACES_EXPORTER"] not in {"", "otlp"}:
        raise SettingsError("OTEL_TRACES_EXPORTER: there are otlp and none only")
    if traces and not re.match(r"https?://[^/\s]", endpoint):
        raise SettingsError("OTEL_EXPORTER_OTLP_ENDPOINT: must begin with http:// or https://")
    opted = said["SEMCONV_STABILITY_OPT_IN"].replace(" ", "").split(",")
    return Telemetry(traces, "gen_ai_latest_experimental" in opted)


def _unknown(names: Iterable[str]) -> list[str]:
    known = [_PREFIX + name for name in _KNOWN]
    unknown = sorted(
        name for name in names if name.startswith(_PREFIX) and name not in known and not name.startswith(_OF_SCRIPTS)
    )
    return [f"{name}: no such setting{_suggestion(name, known)}" for name in unknown]


def _suggestion(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else f" (there are {', '.join(known)})"


def _words(message: str) -> str:
    return message.removeprefix("Value error, ")
