"""The Docker engine, as far as boxes need it: typed, bounded in time, off the event loop.

The only importer of the engine's client library. Connects when it is first needed and again
whenever the engine was away. Whatever goes wrong there is an `EngineError`; it knows no jobs.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, TypeVar
from urllib.parse import quote

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound
from docker.tls import TLSConfig
from docker.utils import kwargs_from_env

from sandbox.attach import Attachment, attach
from sandbox.calls import Answer, EngineAddress, TlsFiles, call
from sandbox.posture import EngineIdentity
from sandbox.profile import ContainerOptions, EngineFacts
from sandbox.verdict import BoxEnd

T = TypeVar("T")

# Seconds that one call may take. They are generous: an engine under load is slow, not broken.
ASK_SECONDS: Final = 5.0
CREATE_SECONDS: Final = 20.0
START_SECONDS: Final = 30.0
END_SECONDS: Final = 10.0
REMOVE_SECONDS: Final = 30.0
SOCKET_SECONDS: Final = 40  # after which a thread gives up; longer than any caller waits
SPARE_CALLS: Final = 4  # for questions and the janitor, beside one call for each box

_FAILURES: Final = (DockerException, requests.RequestException, OSError, ValueError)


class EngineError(Exception):
    """The engine failed, refused, or did not answer in time."""


class EngineRefusedError(EngineError):
    """The engine answered, and refused. `retry_after_seconds` is what it asked for, if it did."""

    def __init__(self, words: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(words)
        self.retry_after_seconds = retry_after_seconds


class ImageMissingError(EngineRefusedError):
    """The engine has no such image."""


@dataclass(frozen=True, slots=True)
class Description:
    """What an engine says of itself, and what makes it unfit to hold a box, in words for an operator.

    `facts` are those of its default runtime, `runtimes` the names of all that it has; `memory_bytes` is its machine's.
    """

    version: str
    identity: EngineIdentity
    facts: EngineFacts
    runtimes: frozenset[str]
    complaints: tuple[str, ...]
    memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class Image:
    """An image by its content, and the writable volumes that it would bring into a read-only box."""

    identity: str
    volumes: tuple[str, ...]


class _Client(docker.APIClient):
    """The library's client without what it takes from the environment by itself.

    A bundle of authorities there (REQUESTS_CA_BUNDLE) would replace the engine's own, so that whoever they certify
    passes for the engine, and a proxy would see every call.
    """

    @property
    def trust_env(self) -> bool:  # a property, since the constructor connects before it returns
        """Never."""
        return False

    @trust_env.setter
    def trust_env(self, _: bool) -> None:
        """Stay so."""


class Engine:
    """One Docker engine; `address` None means what the environment of a Docker client says."""

    def __init__(self, address: EngineAddress | None, *, calls: int) -> None:
        self._given_address = address
        self._threads = ThreadPoolExecutor(max_workers=calls + SPARE_CALLS, thread_name_prefix="engine")
        self._connections = calls + SPARE_CALLS
        self._connecting = threading.Lock()
        self._client: docker.APIClient | None = None
        self._calling = asyncio.Semaphore(calls + SPARE_CALLS)
        self._version: str | None = None

    async def describe(self) -> Description:
        """Ask the engine what it is."""
        return _description(await self._call(ASK_SECONDS, lambda client: client.info()))

    async def image(self, reference: str) -> Image:
        """Ask what an image is now; raises ImageMissingError."""
        found = await self._call(ASK_SECONDS, lambda client: client.inspect_image(reference))  # type: ignore[no-untyped-call] # its stub has no types
        volumes = (found.get("Config") or {}).get("Volumes") or {}
        return Image(str(found["Id"]), tuple(str(path) for path in volumes))

    async def create(self, options: ContainerOptions) -> str:
        """Create a container and return its id; raises ImageMissingError."""
        document = json.dumps(options.config).encode()
        answer = await self._say(CREATE_SECONDS, "POST", f"/containers/create?name={quote(options.name)}", document)
        if answer.status == HTTPStatus.NOT_FOUND and "no such image" in answer.message.lower():
            raise ImageMissingError(_line(answer.message))
        try:
            return str(json.loads(_accepted(answer).body)["Id"])
        except (ValueError, KeyError, TypeError) as error:
            raise EngineError("the engine did not say what it created") from error

    async def attach(self, container: str) -> Attachment:
        """Open both directions of a created container's stream."""
        version = await self._api_version()
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return await attach(self._address, version, container)
        except OSError as error:
            raise EngineError(_words(error)) from error

    async def start(self, container: str) -> None:
        """Start a created container."""
        _accepted(await self._say(START_SECONDS, "POST", f"/containers/{container}/start"))

    async def kill(self, container: str) -> None:
        """End a container's processes. One that has ended already is as good."""
        await self._say(END_SECONDS, "POST", f"/containers/{container}/kill")

    async def ended(self, container: str) -> BoxEnd:
        """Wait a moment for a container to end, then ask how: the end of its stream alone proves nothing."""
        await self._call(END_SECONDS, lambda client: client.wait(container, timeout=int(END_SECONDS)))
        state = (await self._call(ASK_SECONDS, lambda client: client.inspect_container(container)))["State"]
        flag = state.get("OOMKilled")
        return BoxEnd(
            exit_code=None if state.get("Running") else int(state["ExitCode"]),
            out_of_memory=flag if isinstance(flag, bool) else None,
        )

    async def remove(self, container: str) -> None:
        """Remove a container, running or not. One that is gone or going already is as good."""
        answer = await self._say(REMOVE_SECONDS, "DELETE", f"/containers/{container}?v=1&force=1")
        if answer.status not in {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT}:
            _accepted(answer)

    async def labelled(self, label: str, value: str | None = None) -> dict[str, Mapping[str, str]]:
        """The labels of every container, running or not, that has this one, with this value if given; by id."""
        wanted = label if value is None else f"{label}={value}"
        found = await self._call(ASK_SECONDS, lambda client: client.containers(all=True, filters={"label": wanted}))
        return {str(one["Id"]): one["Labels"] or {} for one in found}

    def forget(self) -> None:
        """Connect anew for the next call: another version of the engine may answer there, and speak another API."""
        self._version = None
        client, self._client = self._client, None  # not under the lock, which a call holds while it connects
        if client is not None:
            client.close()  # calls that are on their way keep their connections

    async def gateways(self) -> tuple[str, ...]:
        """The engine's own addresses on its networks."""
        found = await self._call(ASK_SECONDS, lambda client: client.networks())
        configurations = [one for network in found for one in (network.get("IPAM") or {}).get("Config") or ()]
        return tuple(str(one["Gateway"]).partition("/")[0] for one in configurations if one.get("Gateway"))

    async def close(self) -> None:
        """Give the connections back."""
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        self.forget()

    async def _call(self, seconds: float, call: Callable[[docker.APIClient], T]) -> T:
        """Make one call in a thread. A caller that gives up leaves the thread to its socket's time limit."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, lambda: call(self._connected()))
        future.add_done_callback(_retrieve)
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(future)
        except ImageNotFound as error:
            raise ImageMissingError(_words(error)) from error
        except TimeoutError as error:
            raise EngineError(f"the engine did not answer within {seconds:g} s") from error
        except APIError as error:
            raise EngineRefusedError(_words(error)) from error
        except _FAILURES as error:
            raise EngineError(_words(error)) from error

    async def _say(self, seconds: float, method: str, path: str, document: bytes = b"") -> Answer:
        """Make one call by hand. A caller that gives up hangs up."""
        version = await self._api_version()
        try:
            async with asyncio.timeout(seconds), self._calling:
                return await call(self._address, method, f"/v{version}{path}", document)
        except TimeoutError as error:
            raise EngineError(f"the engine did not answer within {seconds:g} s") from error
        except OSError as error:
            raise EngineError(_words(error)) from error

    async def _api_version(self) -> str:
        """The version of the API that the library agreed on with the engine."""
        version = self._version
        if version is None:
            version = self._version = str(await self._call(ASK_SECONDS, lambda client: client.api_version))
        return version

    def _connected(self) -> docker.APIClient:
        with self._connecting:
            if self._client is None:
                address = self._address
                self._client = _Client(
                    base_url=address.url,
                    version="auto",
                    timeout=SOCKET_SECONDS,
                    tls=_tls_config(address.tls) if address.tls is not None else False,
                    max_pool_size=self._connections,
                )
            return self._client

    @property
    def _address(self) -> EngineAddress:
        return self._given_address if self._given_address is not None else address_from_environment()


def address_from_environment() -> EngineAddress:
    """The engine that Docker's own client would talk to: DOCKER_HOST, DOCKER_TLS_VERIFY, DOCKER_CERT_PATH."""
    found = kwargs_from_env()
    tls = found.get("tls")
    files = None
    if isinstance(tls, TLSConfig):
        certificate, key = tls.cert if isinstance(tls.cert, tuple) else (None, None)
        files = TlsFiles(tls.ca_cert, certificate, key, verify=bool(tls.verify))
    return EngineAddress(str(found.get("base_url") or EngineAddress().url), files)


def _tls_config(files: TlsFiles) -> TLSConfig:
    pair = (files.certificate, files.key) if files.certificate is not None and files.key is not None else None
    return TLSConfig(client_cert=pair, ca_cert=files.authority, verify=files.verify)


def _retrieve(future: asyncio.Future[T]) -> None:
    """Look at a call's failure even if nobody waits for it any more."""
    if not future.cancelled():
        future.exception()


def _accepted(answer: Answer) -> Answer:
    """The answer, if it is no failure; else raises EngineError."""
    if answer.failed:
        raise EngineRefusedError(_line(answer.message), answer.retry_after_seconds)
    return answer


def _words(error: Exception) -> str:
    """One line about a failure, for operators."""
    text = error.explanation if isinstance(error, APIError) and error.explanation else str(error)
    return _line(str(text)) or type(error).__name__


def _line(text: str) -> str:
    return " ".join(text.split())[:500]


def _description(info: Mapping[str, object]) -> Description:
    named = info.get("Runtimes")
    runtimes = {str(name): made_of for name, made_of in named.items()} if isinstance(named, dict) else {}
    options = info.get("SecurityOptions")
    wanted = {
        "it does not run Linux containers": info.get("OSType") == "linux",
        "it cannot limit memory": info.get("MemoryLimit") is True,
        "it cannot limit processes": info.get("PidsLimit") is True,
        "it cannot limit CPU time": info.get("CpuCfsQuota") is True,
        "it cannot filter system calls": isinstance(options, list) and any("seccomp" in str(one) for one in options),
    }
    cgroup_version = 2 if info.get("CgroupVersion") == "2" else 1
    version = str(info.get("ServerVersion"))
    return Description(
        version=version,
        identity=EngineIdentity(
            version=version,
            kernel=str(info.get("KernelVersion")),
            cgroup_version=cgroup_version,
            cgroup_driver=str(info.get("CgroupDriver")),
            storage=str(info.get("Driver")),
            security=tuple(str(one) for one in options) if isinstance(options, list) else (),
        ),
        facts=EngineFacts(
            cgroup_version=cgroup_version,
            default_runtime=str(info.get("DefaultRuntime") or ""),
            gvisor_runtimes=frozenset(name for name, made_of in runtimes.items() if "runsc" in f"{name} {made_of}"),
        ),
        runtimes=frozenset(runtimes),
        complaints=tuple(words for words, holds in wanted.items() if not holds),
        memory_bytes=memory if isinstance(memory := info.get("MemTotal"), int) and memory > 0 else None,
    )
