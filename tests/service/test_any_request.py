"""Requests that nobody thought of, made by schemathesis from the OpenAPI document, against the real server.

Whatever is sent, the answer is one that the document tells of: its status, its media type, its headers and its shape.
Data that the document forbids is refused, and so is a request without its key.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final, Self, TypeAlias

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CheckFunction
from schemathesis.core.parameters import ParameterLocation
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance
from schemathesis.specs.openapi.schemas import OpenApiSchema

from tests.conftest import Server

Case: TypeAlias = schemathesis.Case[Any]
Operation: TypeAlias = schemathesis.APIOperation[Any, Any, Any, Any]

EXAMPLES: Final = 25  # of each operation, with data that the document allows, and as many with data that it forbids
ROLES: Final = {"ada": "agent", "ann": "reviewer", "olga": "operator"}
SMALL: Final = (
    "{time: {default: 1s, max: 1s}, memory: {default: 64Mi, max: 64Mi}, disk: {default: 1Mi, max: 1Mi},"
    " output: {default: 4Ki, max: 4Ki}}"
)
WEBHOOK: Final = "{name: nobody, url: 'http://127.0.0.1:1/', secret_env: AIRLOCK_SECRET_NOBODY, attempts: 1}"
POLICY: Final = (
    f"version: 1\nwebhooks: [{WEBHOOK}]\ndefaults: {{budget: {{failures_in_a_row: 1}}, limits: {SMALL}}}\nkeys:\n"
    + "".join(
        f"  - {{name: {name}, sha256: {hashlib.sha256(f'key-of-{name}'.encode()).hexdigest()},"
        f" tenant: t, profile: default, roles: [{role}]}}\n"
        for name, role in ROLES.items()
    )
)
OPERATIONS: Final = (
    "POST /v1/executions",
    "GET /v1/executions/{execution}",
    "DELETE /v1/executions/{execution}",
    "GET /v1/executions/{execution}/events",
    "GET /v1/executions/{execution}/files/{path}",
    "GET /v1/executions/{execution}/policy",
    "GET /v1/tasks/{task_id}",
    "DELETE /v1/tasks/{task_id}",
    "GET /v1/reviews",
    "GET /v1/reviews/{review}",
    "POST /v1/reviews/{review}/rulings",
    "POST /v1/reviews/{review}/checks",
    "GET /v1/webhooks/dead-letters",
    "POST /v1/webhooks/dead-letters/{letter}/replay",
    "DELETE /v1/webhooks/dead-letters/{letter}",
    "GET /v1/policy",
    "POST /v1/policy/reload",
    "GET /v1/policy/schema",
    "GET /v1/policy/findings",
    "POST /v1/policy/explain",
    "GET /v1/policies/{digest}",
    "GET /v1/isolation",
    "POST /v1/isolation/proofs",
    "GET /v1/isolation/{digest}",
    "GET /v1/retention",
    "POST /v1/retention/passes",
    "GET /v1/lanes/monty",
    "POST /v1/lanes/monty/restorations",
    "GET /metrics",
    "GET /healthz",
    "GET /readyz",
)
# A schema cannot say that a limit is above the policy's, or which fields belong to which ruling.
NARROWER_THAN_THE_SCHEMA: Final = {
    "POST /v1/executions",
    "POST /v1/policy/explain",
    "POST /v1/reviews/{review}/rulings",
}
NOTHING_TO_FORBID: Final = {
    "GET /v1/policy",
    "POST /v1/policy/reload",
    "GET /v1/policy/schema",
    "GET /v1/isolation",
    "POST /v1/isolation/proofs",
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
    "GET /v1/retention",
    "POST /v1/retention/passes",
    "GET /v1/lanes/monty",
    "POST /v1/lanes/monty/restorations",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("any-request")
    (data / "policy.yaml").write_text(POLICY)
    secret = "whsec_" + base64.b64encode(bytes(24)).decode()
    running = Server(data, data / "policy.yaml", {"AIRLOCK_SECRET_NOBODY": secret}).start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def document(server: Server) -> OpenApiSchema:
    # Of query parameters that it does not know, a document says nothing; the keys are ours to show.
    generation = {"allow-extra-parameters": False, "with-security-parameters": False}
    config = schemathesis.Config.from_dict({"seed": 1, "generation": generation})
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json", config=config)


def test_every_operation_of_the_document_is_attacked(document: OpenApiSchema) -> None:
    labels = [found.ok().label for found in document.get_all_operations() if isinstance(found, Ok)]
    assert labels == list(OPERATIONS)


def test_the_document_tells_that_an_anonymous_task_cannot_be_closed(server: Server, document: OpenApiSchema) -> None:
    with server.client("key-of-ada") as ada:
        name = ada.post("/v1/executions", json={"code": "1"}).json()["task"]["id"]
        refused = ada.delete(f"/v1/tasks/{name}")
    operation = document.find_operation_by_label("DELETE /v1/tasks/{task_id}")
    assert operation is not None
    assert refused.status_code == 409
    assert "409" in operation.definition.raw["responses"]


@pytest.mark.parametrize("label", OPERATIONS)
def test_whatever_is_sent_the_answer_is_one_that_the_document_tells_of(
    server: Server, document: OpenApiSchema, label: str
) -> None:
    operation = document.find_operation_by_label(label)
    assert operation is not None
    statuses: Counter[int] = Counter()
    excluded: list[CheckFunction] = [positive_data_acceptance] if label in NARROWER_THAN_THE_SCHEMA else []
    with Known(server) as known:
        headers = {"Authorization": f"Bearer key-of-{_who(label)}"}

        def attack(case: Case) -> None:
            known.put_into(case)
            answer = case.call(headers=headers)
            statuses[answer.status_code] += 1
            case.validate_response(answer, excluded_checks=excluded)

        _generate(attack, operation, GenerationMode.POSITIVE)
        if label not in NOTHING_TO_FORBID:
            _generate(attack, operation, GenerationMode.NEGATIVE)
    assert statuses[200], "some requests must reach what they ask for"
    assert label in NOTHING_TO_FORBID or any(status >= 400 for status in statuses)


def _who(label: str) -> str:
    if any(
        part in label
        for part in ("proofs", "metrics", "retention", "webhooks", "explain", "policies", "findings", "lanes", "reload")
    ):
        return "olga"
    return "ann" if "/v1/reviews" in label else "ada"


class Known:
    """Things that exist, so that not every request ends at a name that means nothing; new ones when they are used up."""

    def __init__(self, server: Server) -> None:
        self._agent, self._reviewer = server.client("key-of-ada"), server.client("key-of-ann")
        self._operator = server.client("key-of-olga")
        self._numbers = itertools.count()
        self._cases = itertools.count()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._agent.close()
        self._reviewer.close()
        self._operator.close()

    def put_into(self, case: Case) -> None:
        """Name what exists in every second request, and in each of those that are wrong elsewhere."""
        path, meta = case.path_parameters, case.meta
        if not path or meta is None or meta.is_negative_at(ParameterLocation.PATH):
            return
        if meta.generation.mode.is_positive and next(self._cases) % 2:
            return
        if "letter" in path:
            path["letter"] = self._letter()
            return
        things = self._file() if {"path", "digest"} & set(path) else self._things()
        if "policies" in case.operation.path:
            things = {"digest": things["policy"]}
        path.update({name: value for name, value in things.items() if name in path})
        if meta.generation.mode.is_positive:
            case.query.pop("wait", None)  # for what takes as long as it is told to
            if isinstance(case.body, dict) and "token" in case.body:
                case.body = {"token": self._token(things["review"]), "ruling": "approve"}

    def _things(self) -> dict[str, str]:
        name = f"known-{next(self._numbers)}-{id(self)}"
        made = self._agent.post("/v1/executions", json={"code": "def broken(:", "task_id": name}).json()
        return {"execution": made["id"], "task_id": name, "review": made["task"]["review"]}

    def _letter(self) -> str:
        """A dead letter: there is one for each execution, soon after its answer."""
        self._things()
        while not (letters := self._operator.get("/v1/webhooks/dead-letters").json()["letters"]):
            time.sleep(0.05)
        letter: str = letters[0]["id"]
        return letter

    @functools.cache  # noqa: B019  # as long as the test lives
    def _file(self) -> dict[str, str]:
        body = {"code": "open('a.txt', 'w').write('a')", "outputs": ["a.txt"], "task_id": "file"}
        made = self._agent.post("/v1/executions", json=body).json()
        return {"execution": made["id"], "path": "a.txt", "digest": made["posture"], "policy": made["policy"]}

    def _token(self, review: str) -> str:
        token: str = self._reviewer.get(f"/v1/reviews/{review}").json()["token"]
        return token


def _generate(attack: Callable[[Case], None], operation: Operation, mode: GenerationMode) -> None:
    """The same requests every time: a test that fails now and then is believed by nobody."""
    bounded = settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    bounded(given(case=operation.as_strategy(generation_mode=mode))(attack))()
