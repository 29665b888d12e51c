"""A broken policy file is refused with the place and a message that a stranger can act on."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy_file import MOST_BYTES, PolicyError, Problem, parse_policy, read_policy
from gateway.policy_shape import PolicyDocument, ProfileBody

SECTIONS = ", ".join(ProfileBody.model_fields)
SHA = "ab" * 32
HOOK = "https://hooks.example/"
HOOKED = f"{{name: a, url: '{HOOK}', secret_env: A}}"
ONE_KEY = f"{{name: a, sha256: {SHA}, tenant: t, profile: default, roles: [agent]}}"


def refused(text: str) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        parse_policy(text, file="policy.yaml")
    assert str(caught.value) == "\n".join(str(problem) for problem in caught.value.problems)
    return str(caught.value).splitlines()


BROKEN = {
    "a key of the mail server": (
        "version: 1\nmail: {host: h, from: a@b.example, potr: 25}\n",
        "policy.yaml:2:36: mail.potr: unknown key (did you mean port?)",
    ),
    "unknown key with a near one": (
        "version: 1\ndefaults:\n  limits:\n    memroy: {max: 1Gi}\n",
        "policy.yaml:4:5: defaults.limits.memroy: unknown key (did you mean memory?)",
    ),
    "unknown key in capitals": (
        "version: 1\nEngine: {boxes: 2}\n",
        "policy.yaml:2:1: Engine: unknown key (did you mean engine?)",
    ),
    "unknown key like no other": (
        "version: 1\ndefaults:\n  network: none\n",
        f"policy.yaml:3:3: defaults.network: unknown key (known here: {SECTIONS})",
    ),
    "unknown key in a key": (
        f"version: 1\nkeys:\n  - {{name: a, sha256: {SHA}, tenant: t, profile: default, roles: [agent], rolls: 1}}\n",
        "policy.yaml:3:134: keys[0].rolls: unknown key (did you mean roles?)",
    ),
    "unknown key in a profile": (
        "version: 1\nprofiles:\n  a: {extend: b}\n",
        "policy.yaml:3:7: profiles.a.extend: unknown key (did you mean extends?)",
    ),
    "a size in GB": (
        "version: 1\ndefaults:\n  limits:\n    memory: {default: 256Mi, max: 1GB}\n",
        "policy.yaml:4:35: defaults.limits.memory.max: '1GB' is not a size (write 512Mi, 2Gi)",
    ),
    "a negative duration": (
        "version: 1\nceilings: {time: -5}\n",
        "policy.yaml:2:18: ceilings.time: -5 is less than 1ms, the least that makes sense for a duration",
    ),
    "a sexagesimal duration": (
        "version: 1\nceilings: {time: 1:30}\n",
        "policy.yaml:2:18: ceilings.time: '1:30' is not a duration (write 500ms, 30s, 5m, 24h, 7d)",
    ),
    "cores of a word": (
        "version: 1\nceilings: {cpu: many}\n",
        "policy.yaml:2:17: ceilings.cpu: 'many' is not an amount of cores (write 500m, 2)",
    ),
    "not a number": (
        "version: 1\nceilings: {cpu: .nan}\n",
        "policy.yaml:2:17: ceilings.cpu: '.nan' is not an amount of cores (write 500m, 2)",
    ),
    "infinite": (
        "version: 1\nceilings: {memory: 1e999}\n",
        "policy.yaml:2:20: ceilings.memory: inf is not a size (write 512Mi, 2Gi)",
    ),
    "yes is no truth value": (
        "version: 1\ndefaults:\n  lanes: {monty: yes}\n",
        "policy.yaml:3:18: defaults.lanes.monty: 'yes' is neither true nor false (write one of them, without quotes)",
    ),
    "true is no number": (
        "version: 1\nengine: {boxes: true}\n",
        "policy.yaml:2:17: engine.boxes: true is not a whole number",
    ),
    "a number in quotes": (
        'version: 1\nengine: {boxes: "8"}\n',
        "policy.yaml:2:17: engine.boxes: '8' is not a whole number (write it without quotes and leading zeros)",
    ),
    "an octal number": (
        "version: 1\nengine: {boxes: 010}\n",
        "policy.yaml:2:17: engine.boxes: '010' is not a whole number (write it without quotes and leading zeros)",
    ),
    "too few": (
        "version: 1\nengine: {boxes: 0}\n",
        "policy.yaml:2:17: engine.boxes: 0 is less than 1",
    ),
    "too many": (
        "version: 1\ndefaults: {checks: {nesting: 15}}\n",
        "policy.yaml:2:30: defaults.checks.nesting: 15 is more than 14",
    ),
    "not one of": (
        "version: 1\ndefaults: {checks: {type_check: error}}\n",
        "policy.yaml:2:33: defaults.checks.type_check: 'error' is not 'warn' or 'skip'",
    ),
    "text for a list": (
        "version: 1\ndefaults: {checks: {imports: {deny: os}}}\n",
        "policy.yaml:2:37: defaults.checks.imports.deny: 'os' is not a list (write [os], or begin each with a dash)",
    ),
    "a pattern for a module": (
        "version: 1\ndefaults:\n  checks:\n    imports:\n      deny:\n        - json\n        - os.*\n",
        "policy.yaml:7:11: defaults.checks.imports.deny[1]: 'os.*' is not a module's name (write os or os.path)",
    ),
    "a list for a map": (
        "version: 1\ndefaults: [limits]\n",
        f"policy.yaml:2:11: defaults: a list is not a map of keys and values (known here: {SECTIONS})",
    ),
    "a number for text": (
        "version: 1\nname: 12\n",
        "policy.yaml:2:7: name: 12 is not text (put it in quotes)",
    ),
    "an image with an option": (
        "version: 1\ndefaults: {isolation: {image: --privileged}}\n",
        "policy.yaml:2:31: defaults.isolation.image: '--privileged' is not an image (write name:tag or name@sha256:...)",
    ),
    "a profile's name with a space": (
        'version: 1\nprofiles: {"a b": {}}\n',
        "policy.yaml:2:12: profiles.'a b': 'a b' is not a name (64 letters, digits, - and _ at most)",
    ),
    "no version": (
        "name: x\n",
        "policy.yaml:1:1: version: is missing",
    ),
    "a later version": (
        "version: 2\n",
        "policy.yaml:1:10: version: 2 is not a known version (write 1)",
    ),
    "a version in quotes": (
        "version: '1'\n",
        "policy.yaml:1:10: version: '1' is not a whole number (write it without quotes and leading zeros)",
    ),
    "a key without a tenant": (
        f"version: 1\nkeys:\n  - name: a\n    sha256: {SHA}\n    profile: default\n    roles: [agent]\n",
        "policy.yaml:3:5: keys[0]: a key needs a tenant, or else jwt.tenant_claim: write one of them",
    ),
    "no role": (
        f"version: 1\nkeys:\n  - {{name: a, sha256: {SHA}, tenant: t, profile: default, roles: []}}\n",
        "policy.yaml:3:125: keys[0].roles: a key needs at least one role",
    ),
    "agent and reviewer": (
        f"version: 1\nkeys:\n  - {{name: a, sha256: {SHA}, tenant: t, profile: default, roles: [agent, reviewer]}}\n",
        "policy.yaml:3:125: keys[0].roles: one key cannot be agent and reviewer: an agent's key can never rule",
    ),
    "a digest in capitals": (
        f"version: 1\nkeys:\n  - {{name: a, sha256: {SHA.upper()}, tenant: t, profile: default, roles: [agent]}}\n",
        "policy.yaml:3:23: keys[0].sha256: this is not the SHA-256 of a key (64 hexadecimal digits, lower case)",
    ),
    "one key twice": (
        f"version: 1\nkeys:\n  - {ONE_KEY}\n  - {ONE_KEY.replace('name: a', 'name: b')}\n",
        "policy.yaml:4:23: keys[1].sha256: this is the key 'a' again",
    ),
    "a key with an unknown profile": (
        f"version: 1\nkeys:\n  - {{name: a, sha256: {SHA}, tenant: t, profile: defalt, roles: [agent]}}\n",
        "policy.yaml:3:109: keys[0].profile: 'defalt' is not a profile of this policy (did you mean default?)",
    ),
    "an unknown parent": (
        "version: 1\nprofiles:\n  analyst: {}\n  trial:\n    extends: analist\n",
        "policy.yaml:5:14: profiles.trial.extends: 'analist' is not a profile of this policy (did you mean analyst?)",
    ),
    "a profile that extends itself": (
        "version: 1\nprofiles: {a: {extends: a}}\n",
        "policy.yaml:2:25: profiles.a.extends: 'a' makes a circle: a -> a",
    ),
    "default above max": (
        "version: 1\ndefaults:\n  limits:\n    memory:\n      default: 2Gi\n",
        "policy.yaml:5:16: defaults.limits.memory.default: limits.memory.default 2Gi is more than limits.memory.max 1Gi",
    ),
    "max above the ceiling": (
        "version: 1\nceilings: {memory: 1Gi}\nprofiles: {a: {limits: {memory: {max: 2Gi}}}}\n",
        "policy.yaml:3:39: profiles.a.limits.memory.max: limits.memory.max 2Gi is more than ceilings.memory 1Gi",
    ),
    "a ceiling below the built-in max": (
        "version: 1\nceilings: {time: 1m}\n",
        "policy.yaml:2:18: ceilings.time: limits.time.max 5m is more than ceilings.time 1m",
    ),
    "a key given twice": (
        "version: 1\nengine: {boxes: 2}\n\nengine: {boxes: 4}\n",
        "policy.yaml:4:1: engine: the key is given twice (first in line 2)",
    ),
    "a key without a value": (
        "version: 1\ndefaults:\n  checks:\n    imports:\n      allow:\n",
        "policy.yaml:5:7: defaults.checks.imports.allow: there is no value (leave the key out, or write one; {} is an empty map)",
    ),
    "null": (
        "version: 1\ndefaults: null\n",
        "policy.yaml:2:1: defaults: there is no value (leave the key out, or write one; {} is an empty map)",
    ),
    "a key that is a number": (
        "version: 1\nprofiles:\n  7: {}\n",
        "policy.yaml:3:3: profiles: a key must be text (put it in quotes)",
    ),
    "a key that is a list": (
        "version: 1\n? [a]\n: 1\n",
        "policy.yaml:2:3: a key must be text (a value that begins with { or [ needs quotes)",
    ),
    "a tag": (
        "version: 1\nname: !!python/name:os.system x\n",
        "policy.yaml:2:7: name: tags are not allowed: '!!python/name:os.system'",
    ),
    "a merge key": (
        "version: 1\ndefaults: &base {}\nprofiles:\n  a:\n    <<: *base\n",
        "policy.yaml:5:5: profiles.a.<<: merge keys are not allowed (`extends` makes one profile of another; an alias repeats a whole value)",
    ),
    "an alias of nothing": (
        "version: 1\ndefaults: *base\n",
        "policy.yaml:2:11: defaults: nothing before this is anchored as 'base'",
    ),
    "an alias of itself": (
        "version: 1\ndefaults: &a {checks: *a}\n",
        "policy.yaml:2:23: defaults.checks: nothing before this is anchored as 'a'",
    ),
    "a second document": (
        "version: 1\n---\nversion: 1\n",
        "policy.yaml:2:1: a second document begins here; a file holds one",
    ),
    "YAML 1.1": (
        "%YAML 1.1\n---\nversion: 1\n",
        "policy.yaml:2:1: directives are not allowed; this file is read as YAML 1.2",
    ),
    "an indenting tab": (
        "version: 1\ndefaults:\n\tlimits: {}\n",
        "policy.yaml:3:1: a tab cannot indent YAML (use spaces)",
    ),
    "an open bracket": (
        "version: 1\ndefaults: {limits: {}\n",
        "policy.yaml:2:11: this { is never closed, or a comma is missing after it",
    ),
    "an open quote": (
        'version: 1\nname: "x\n',
        "policy.yaml:2:7: this quote is never closed",
    ),
    "a wrong indentation": (
        "version: 1\n name: x\n",
        "policy.yaml:2:6: a key cannot stand here: mind the indentation, or put a text with a colon in quotes",
    ),
    "a control character": (
        "version: 1\nname: \x07\n",
        "policy.yaml:2:7: a character that YAML does not allow",
    ),
    "no such character": (
        'version: 1\nname: "\\UFFFFFFFF"\n',
        "policy.yaml:2:1: not YAML after this: a character that there is not, perhaps",
    ),
    "nothing": (
        "# only a comment\n",
        "policy.yaml:1:1: is empty (write version: 1)",
    ),
    "a list of policies": (
        "- version: 1\n",
        "policy.yaml:1:1: a list is not a map of keys and values: begin with version: 1, and a blank after each colon",
    ),
    "a sentence": (
        "allow everything\n",
        "policy.yaml:1:1: 'allow everything' is not a map of keys and values: begin with version: 1, and a blank after each colon",
    ),
    "a webhook without a secret": (
        f"version: 1\nwebhooks:\n  - {{name: a, url: '{HOOK}'}}\n",
        "policy.yaml:3:5: webhooks[0]: a webhook needs a secret: write secret_env or secret_file, and one of them",
    ),
    "a webhook with two": (
        f"version: 1\nwebhooks:\n  - {{name: a, url: '{HOOK}', secret_env: A, secret_file: /a}}\n",
        "policy.yaml:3:5: webhooks[0]: a webhook needs a secret: write secret_env or secret_file, and one of them",
    ),
    "two webhooks of one name": (
        f"version: 1\nwebhooks:\n  - {HOOKED}\n  - {HOOKED}\n",
        "policy.yaml:4:12: webhooks[1].name: 'a' is the name of another webhook already",
    ),
    "a webhook whose first wait is the longest": (
        f"version: 1\nwebhooks:\n  - {HOOKED[:-1]}, base: 2h, cap: 1h}}\n",
        "policy.yaml:3:67: webhooks[0].base: base 2h is more than cap 1h",
    ),
    "a webhook with a user in its address": (
        "version: 1\nwebhooks:\n  - {name: a, secret_env: A, url: 'https://user:hunter2@hooks.example/'}\n",
        "policy.yaml:3:35: webhooks[0].url: this is not an address (write https://host/path, without a user and without #)",
    ),
    "a webhook that wants nothing": (
        f"version: 1\nwebhooks:\n  - {HOOKED[:-1]}, events: []}}\n",
        "policy.yaml:3:69: webhooks[0].events: a webhook needs at least one kind of event",
    ),
    "escape codes in a key": (
        'version: 1\n"\\e[2J": 1\n',
        rf"policy.yaml:2:1: '\x1b[2J': unknown key (known here: {', '.join(PolicyDocument.model_fields)})",
    ),
}


@pytest.mark.parametrize(("text", "says"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_refused_with_one_line_that_helps(text: str, says: str) -> None:
    assert refused(text) == [says]


def test_all_problems_are_told_at_once_in_the_order_of_the_file() -> None:
    text = """\
version: 1
ceilings: {memory: 8GB}
defaults:
  netwrok: none
  lanes: {monty: on}
  lanes: {monty: true}
keys:
  - {name: a, sha256: abc}
profiles:
  a: {limits: {pids: {max: 0}}}
"""
    assert refused(text) == [
        "policy.yaml:2:20: ceilings.memory: '8GB' is not a size (write 512Mi, 2Gi)",
        f"policy.yaml:4:3: defaults.netwrok: unknown key (known here: {SECTIONS})",
        "policy.yaml:5:18: defaults.lanes.monty: 'on' is neither true nor false (write one of them, without quotes)",
        "policy.yaml:6:3: defaults.lanes: the key is given twice (first in line 5)",
        "policy.yaml:8:5: keys[0].profile: is missing",
        "policy.yaml:8:5: keys[0].roles: is missing",
        "policy.yaml:8:23: keys[0].sha256: this is not the SHA-256 of a key (64 hexadecimal digits, lower case)",
        "policy.yaml:10:28: profiles.a.limits.pids.max: 0 is less than 1",
    ]


def test_all_contradictions_are_told_at_once() -> None:
    text = "version: 1\ndefaults:\n  limits: {cpu: {default: 3}, time: {max: 1h}}\nprofiles: {a: {extends: b}}\n"
    assert refused(text) == [
        "policy.yaml:3:27: defaults.limits.cpu.default: limits.cpu.default 3 is more than limits.cpu.max 2",
        "policy.yaml:3:43: defaults.limits.time.max: limits.time.max 1h is more than ceilings.time 30m",
        "policy.yaml:4:25: profiles.a.extends: 'b' is not a profile of this policy",
    ]


def test_a_problem_is_data_as_well() -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy("version: 1\nceilings: {time: soon}\n", file="p.yaml")
    assert caught.value.problems == (
        Problem(
            file="p.yaml",
            line=2,
            column=18,
            path="ceilings.time",
            value="'soon'",
            message="'soon' is not a duration (write 500ms, 30s, 5m, 24h, 7d)",
        ),
    )


def test_a_key_in_place_of_its_digest_is_never_repeated() -> None:
    secret = "sk-live-51H8xYzzyPlugh"
    text = f"version: 1\nkeys:\n  - {{name: a, sha256: {secret}, tenant: t, profile: default, roles: [agent], key: {secret}}}\n"
    with pytest.raises(PolicyError) as caught:
        parse_policy(text, file="p.yaml")
    assert len(caught.value.problems) == 2
    error: BaseException | None = caught.value
    assert secret not in str(error)
    assert secret not in repr(error)
    assert secret not in repr(caught.value.problems)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    syntax = refused(f"version: 1\nkeys:\n  - {{name: a, sha256: {secret} : : }}\n")
    assert secret not in "".join(syntax)


def test_yaml_is_1_2() -> None:
    policy = parse_policy(
        "version: 1\nname: no\nprofiles: {on: {}, off: {extends: on}, 2024-01-01: {}}\n", file="p.yaml"
    )
    assert policy.name == "no"
    assert set(policy.profiles) == {"default", "on", "off", "2024-01-01"}


def test_a_chain_of_profiles_has_an_end() -> None:
    profiles = "".join(f"  p{number}: {{extends: p{number + 1}}}\n" for number in range(17))
    text = f"version: 1\nprofiles:\n{profiles}  p17: {{}}\n"
    assert refused(text) == ["policy.yaml:3:17: profiles.p0.extends: more than 16 profiles stand above this one"]
    assert parse_policy(text.replace("  p0: {extends: p1}\n", ""), file="policy.yaml").resolve("p1")


SECRET = "sk-live-51H8xYzzyPlugh"


@pytest.mark.parametrize(
    "told",
    [
        f"keys: {SECRET}",
        f"webhooks: {SECRET}",
        f"mail: {SECRET}",
        f"console: {SECRET}",
        f"console: {{oidc: {SECRET}}}",
        f"console: {{oidc: {{issuer: 'https://u:{SECRET}@idp.example/', client_id: c}}}}",
        f"keys: [{{name: a, jwt: {SECRET}, tenant: t, profile: default, roles: [agent]}}]",
        f"keys: [{{name: a, jwt: {{issuer: i, audience: a, keys_file: {SECRET}}}, profile: default, roles: [agent]}}]",
        f"keys: [{{name: a, sha256: !{SECRET}!x}}]",
        f"keys:\n  - name: a\n    sha256: {{{SECRET}",
        f"public_url: 'https://u:{SECRET}@airlock.example/'",
    ],
)
def test_what_stands_where_secrets_are_named_is_never_repeated(told: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy(f"version: 1\n{told}\n", file="policy.yaml")
    assert SECRET not in str(caught.value) + repr(caught.value.problems)


def test_aliases_repeat_whole_values() -> None:
    text = """\
version: 1
defaults:
  checks: {imports: {deny: &banned [socket, ctypes]}}
profiles:
  a: {checks: {imports: {deny: *banned}}, limits: &small {memory: {max: 512Mi}}}
  b: {limits: *small}
"""
    policy = parse_policy(text, file="p.yaml")
    assert policy.resolve("b").limits.memory.max == 512 * 2**20
    assert policy.resolve("a").checks.imports.deny == ("ctypes", "socket")


def test_the_name_is_the_files_unless_it_says_one() -> None:
    assert parse_policy("version: 1\n", file="/etc/airlock/team-a.yaml").name == "team-a"
    assert parse_policy("\ufeffversion: 1\r\nname: mine\r\n", file="/etc/airlock/team-a.yaml").name == "mine"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)), "more than 10000 values"),
        ("a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 5000)), "more than 24 levels deep"),
        ("[" * 5000, "more than 24 levels deep"),
        ("- " * 5000, "more than 24 levels deep"),
        ("{" * 5000, "a key must be text"),
        ("? " * 5000, "a key must be text"),
        ("".join(f"k{i}: 1\n" for i in range(6000)), "more than 10000 values"),
        ("#" * (MOST_BYTES + 1), "larger than 1048576 bytes"),
        ("é" * (MOST_BYTES // 2 + 1), "larger than 1048576 bytes"),
    ],
    ids=["laughs", "deep aliases", "brackets", "dashes", "braces", "question marks", "keys", "bytes", "characters"],
)  # fmt: skip
def test_what_could_exhaust_the_reader_is_refused(text: str, says: str) -> None:
    assert says in refused(text)[-1]


@given(st.text() | st.text(alphabet="ab:-[]{}?&*!|>'\"#%@`,\\xU0 \n\t~<=.1"))
def test_any_text_is_a_policy_or_a_policy_error(text: str) -> None:
    for start in ("", "version: 1\n"):
        try:
            parse_policy(start + text, file="p.yaml")
        except PolicyError as error:
            assert error.problems  # noqa: PT017  # either outcome is right
            assert all(problem.line >= 1 and problem.column >= 1 for problem in error.problems)  # noqa: PT017  # as above


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"nowhere\.yaml:1:1: cannot be read: No such file or directory"):
        read_policy(tmp_path / "nowhere.yaml")
    with pytest.raises(PolicyError, match="cannot be read: Is a directory"):
        read_policy(tmp_path)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"version: 1\nname: \xff\n")
    with pytest.raises(PolicyError, match=r"binary\.yaml:2:7: not UTF-8 text"):
        read_policy(binary)
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (MOST_BYTES + 1))
    with pytest.raises(PolicyError, match="larger than 1048576 bytes"):
        read_policy(large)
