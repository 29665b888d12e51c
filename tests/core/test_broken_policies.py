"""Broken policy files as people write them, byte by byte: each is refused at its line, in words that say what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.policy_file import PolicyError, read_policy

SHA = "ab" * 32
NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
SECRET = "hunter2hunter2"
KEY = f"{{name: a, sha256: {SHA}, tenant: t, profile: default, roles: [agent]}}"
PEOPLE = "{name: p, tenant: t, profile: default, roles: [reviewer], jwt: {issuer: 'https://idp.example', audience: airlock, keys_file: /k}}"
OIDC = "{issuer: 'https://idp.example', client_id: airlock, client_secret_env: A}"
HOOK = "{name: a, url: 'https://hooks.example/', secret_env: A}"


def keys(*entries: str) -> str:
    return "version: 1\nkeys:\n" + "".join(f"  - {entry}\n" for entry in entries)


def log_in(oidc: str, entry: str = PEOPLE) -> str:
    return f"version: 1\nkeys: [{entry}]\nconsole: {{oidc: {oidc}}}\n"


def defaults(text: str) -> str:
    return f"version: 1\ndefaults: {text}\n"


BROKEN: dict[str, tuple[str | bytes, str]] = {
    "an empty file": ("", "1:1: is empty (write version: 1)"),
    "nothing but a marker": ("---\n", "1:1: is empty (write version: 1)"),
    "an empty map": ("{}\n", "1:1: version: is missing"),
    "a list at the top": (
        "- version: 1\n",
        "1:1: a list is not a map of keys and values: begin with version: 1, and a blank after each colon",
    ),
    "no blank after the colon": (
        "version:1\n",
        "1:1: 'version:1' is not a map of keys and values: begin with version: 1, and a blank after each colon",
    ),
    "no blank after a later colon": (
        "version: 1\nname:x\n",
        "2:1: a key needs a colon, and a blank after it (write key: value)",
    ),
    "no colon": (
        "version: 1\ndefaults\n  limits: {}\n",
        "2:1: a key needs a colon, and a blank after it (write key: value)",
    ),
    "another language": (
        "version = 1\n[defaults]\n",
        (
            "1:1: 'version = 1 [defaults]' is not a map of keys and values: begin with version: 1, and a blank after each"
            " colon"
        ),
    ),
    "Latin-1": ("version: 1\nname: caf\u00e9\n".encode("latin-1"), "2:10: not UTF-8 text (save it as UTF-8)"),
    "UTF-16": ("version: 1\n".encode("utf-16"), "1:1: not UTF-8 text (save it as UTF-8)"),
    "an error behind a byte order mark": (
        b"\xef\xbb\xbfversion: 1\nname: a b\n",
        "2:7: name: 'a b' is not a name (64 letters, digits, - and _ at most)",
    ),
    "line ends of another system": (
        b"version: 1\r\ndefaults:\r\n  limts: {}\r\n",
        "3:3: defaults.limts: unknown key (did you mean limits?)",
    ),
    "a NUL": (b"version: 1\nname: a\0b\n", "2:8: a character that YAML does not allow"),
    "more than a mebibyte": (b"version: 1\n" + b"#" * (1 << 20), "1:1: larger than 1048576 bytes"),
    "two documents": ("version: 1\n---\nversion: 1\n", "2:1: a second document begins here; a file holds one"),
    "a tab at the beginning": ("version: 1\ndefaults:\n\tlimits: {}\n", "3:1: a tab cannot indent YAML (use spaces)"),
    "a tab after blanks": (
        "version: 1\ndefaults:\n  checks:\n  \ttype_check: warn\n",
        "4:3: a tab cannot indent YAML (use spaces)",
    ),
    "a tab after a colon": ("version:\t1\n", "1:9: a tab cannot stand here (use spaces)"),
    "a line too far to the left": (
        "version: 1\ndefaults:\n  limits:\n    cpu: {max: 1}\n   memory: {max: 1Gi}\n",
        "5:4: this line is indented unlike those above it",
    ),
    "a line too far to the right": (
        "version: 1\n  name: x\n",
        "2:7: a key cannot stand here: mind the indentation, or put a text with a colon in quotes",
    ),
    "a brace that stays open": (
        "version: 1\ndefaults: {limits: {memory: {max: 1Gi}\nname: x\n",
        "2:20: this { is never closed, or a comma is missing after it",
    ),
    "a bracket that stays open": (
        "version: 1\ndefaults:\n  checks:\n    imports:\n      deny: [os, sys\n  lanes: {monty: true}\n",
        "5:13: this [ is never closed, or a comma is missing after it",
    ),
    "a quote that stays open": ("version: 1\nname: 'x\nengine: {boxes: 2}\n", "2:7: this quote is never closed"),
    "an asterisk for everything": (
        "version: 1\ndefaults:\n  checks:\n    imports:\n      allow: [*]\n",
        "5:15: * begins an alias (put it in quotes)",
    ),
    "a template that nobody filled in": (
        "version: 1\nname: {{ name }}\n",
        "2:8: name: a key must be text (a value that begins with { or [ needs quotes)",
    ),
    "a variable that nobody filled in": (
        "version: 1\nname: ${NAME}\n",
        "2:7: name: '${NAME}' is not a name (64 letters, digits, - and _ at most)",
    ),
    "a tag": ("version: 1\nname: !!binary aGk\n", "2:7: name: tags are not allowed: '!!binary'"),
    "a merge key": (
        "version: 1\ndefaults: &d {lanes: {monty: true}}\nprofiles: {a: {<<: *d}}\n",
        (
            "3:16: profiles.a.<<: merge keys are not allowed (`extends` makes one profile of another; an alias repeats a"
            " whole value)"
        ),
    ),
    "an alias of nothing": ("version: 1\ndefaults: *d\n", "2:11: defaults: nothing before this is anchored as 'd'"),
    "aliases that double": (
        (
            "version: 1\na: &a [1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
            "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d]\n"
        ),
        "6:8: e[0]: more than 10000 values, aliases written out",
    ),
    "maps in maps": (defaults("{a: " * 40 + "1" + "}" * 40), "2:103: ...: more than 24 levels deep"),
    "a key twice": (
        "version: 1\nprofiles:\n  a: {}\n  b: {}\n  a: {}\n",
        "5:3: profiles.a: the key is given twice (first in line 3)",
    ),
    "a typo at the top": (
        "version: 1\nprofile: {}\n",
        "2:1: profile: unknown key (did you mean profiles?)",
    ),
    "a typo deep inside": (
        defaults("{isolation: {iamge: x}}"),
        "2:24: defaults.isolation.iamge: unknown key (did you mean image?)",
    ),
    "a key of another section": (
        "version: 1\nlimits: {memory: {max: 1Gi}}\n",
        "2:1: limits: unknown key (known here) (did you mean defaults.limits?)",
    ),
    "a key of another section, deeper": (
        defaults("{memory: {max: 1Gi}}"),
        "2:12: defaults.memory: unknown key (known here) (did you mean defaults.limits.memory?)",
    ),
    "a key that there is not": (defaults("{network: none}"), "2:12: defaults.network: unknown key (known here)"),
    "an amount without its bounds": (
        defaults("{limits: {memory: 1Gi}}"),
        "2:29: defaults.limits.memory: '1Gi' is not a map of keys and values (known here)",
    ),
    "a size in GB": (
        "version: 1\nceilings: {memory: 1GB}\n",
        "2:20: ceilings.memory: '1GB' is not a size (write 512Mi, 2Gi)",
    ),
    "a size with a blank": (
        "version: 1\nceilings: {memory: 1 Gi}\n",
        "2:20: ceilings.memory: '1 Gi' is not a size (write 512Mi, 2Gi)",
    ),
    "a duration of a clock": (
        "version: 1\nceilings: {time: 00:05:00}\n",
        "2:18: ceilings.time: '00:05:00' is not a duration (write 500ms, 30s, 5m, 24h, 7d)",
    ),
    "per cent of a core": (
        "version: 1\nceilings: {cpu: 50%}\n",
        "2:17: ceilings.cpu: '50%' is not an amount of cores (write 500m, 2)",
    ),
    "octal": (
        "version: 1\nceilings: {pids: 0755}\n",
        "2:18: ceilings.pids: '0755' is not a whole number (write it without quotes and leading zeros)",
    ),
    "hexadecimal": ("version: 1\nceilings: {pids: 0x10}\n", "2:18: ceilings.pids: '0x10' is not a whole number"),
    "half a process": ("version: 1\nceilings: {pids: 1.5}\n", "2:18: ceilings.pids: 1.5 is not a whole number"),
    "less than nothing": ("version: 1\nceilings: {pids: -1}\n", "2:18: ceilings.pids: -1 is less than 1"),
    "not a number": (
        "version: 1\nceilings: {cpu: .nan}\n",
        "2:17: ceilings.cpu: '.nan' is not an amount of cores (write 500m, 2)",
    ),
    "infinity": (
        "version: 1\nceilings: {memory: .inf}\n",
        "2:20: ceilings.memory: '.inf' is not a size (write 512Mi, 2Gi)",
    ),
    "a huge number": (
        f"version: 1\nceilings: {{pids: {'9' * 30}}}\n",
        "2:18: ceilings.pids: a number of many digits is more than 1000000",
    ),
    "a huger one": (
        f"version: 1\nceilings: {{memory: {'9' * 400}}}\n",
        f"2:20: ceilings.memory: '{'9' * 32}'... is not a size (write 512Mi, 2Gi)",
    ),
    "per cent of a share": (
        "version: 1\nengine: {retry_share: 20%}\n",
        "2:23: engine.retry_share: '20%' is not a number (write 0.5)",
    ),
    "yes": (
        defaults("{lanes: {monty: yes}}"),
        "2:27: defaults.lanes.monty: 'yes' is neither true nor false (write one of them, without quotes)",
    ),
    "off": (defaults("{cache: {scope: off}}"), "2:27: defaults.cache.scope: 'off' is not 'none', 'tenant' or 'shared'"),
    "a word in capitals": (
        defaults("{checks: {type_check: Warn}}"),
        "2:33: defaults.checks.type_check: 'Warn' is not 'warn' or 'skip' (did you mean warn?)",
    ),
    "one word for a list": (
        defaults("{checks: {imports: {deny: os}}}"),
        "2:37: defaults.checks.imports.deny: 'os' is not a list (write [os], or begin each with a dash)",
    ),
    "a map for a list": (
        f"version: 1\nkeys:\n  ada: {{sha256: {SHA}}}\n",
        "3:3: keys: a map is not a list (write [a, b], or begin each with a dash)",
    ),
    "a package with a range": (
        defaults("{isolation: {packages: [numpy>=2]}}"),
        "2:35: defaults.isolation.packages[0]: 'numpy>=2' is not a package (write numpy or numpy==2.1.0)",
    ),
    "version 2": ("version: 2\n", "1:10: version: 2 is not a known version (write 1)"),
    "version 1 in quotes": (
        "version: '1'\n",
        "1:10: version: '1' is not a whole number (write it without quotes and leading zeros)",
    ),
    "default above max": (
        defaults("{limits: {memory: {default: 2Gi, max: 1Gi}}}"),
        "2:39: defaults.limits.memory.default: limits.memory.default 2Gi is more than limits.memory.max 1Gi",
    ),
    "max above the ceiling": (
        defaults("{limits: {memory: {max: 8Gi}}}"),
        "2:35: defaults.limits.memory.max: limits.memory.max 8Gi is more than ceilings.memory 4Gi",
    ),
    "a circle of three": (
        "version: 1\nprofiles:\n  a: {extends: b}\n  b: {extends: c}\n  c: {extends: a}\n",
        "3:16: profiles.a.extends: 'b' makes a circle: a -> b -> c -> a",
    ),
    "a profile below a circle": (
        "version: 1\nprofiles:\n  x: {extends: b}\n  a: {extends: b}\n  b: {extends: a}\n",
        "4:16: profiles.a.extends: 'b' makes a circle: a -> b -> a",
    ),
    "the defaults as a parent": (
        "version: 1\nprofiles: {b: {extends: defaults}}\n",
        "2:25: profiles.b.extends: 'defaults' is not a profile of this policy (did you mean default?)",
    ),
    "a key of an unknown profile": (
        keys(KEY.replace("default", "analst")) + "profiles: {analyst: {}}\n",
        "3:109: keys[0].profile: 'analst' is not a profile of this policy (did you mean analyst?)",
    ),
    "two keys of one name": (
        keys(KEY, KEY.replace(SHA, "cd" * 32)),
        "4:12: keys[1].name: 'a' is the name of another key already",
    ),
    "a role that there is not": (
        keys(KEY.replace("[agent]", "[agnet]")),
        "3:126: keys[0].roles[0]: 'agnet' is not ... (did you mean agent?)",
    ),
    "the key itself for its digest": (
        keys(KEY.replace(SHA, SECRET)),
        "3:23: keys[0].sha256: this is not the SHA-256 of a key (64 hexadecimal digits, lower case)",
    ),
    "a key of digits for its digest": (
        keys(KEY.replace(SHA, "12345678901234567890")),
        "3:23: keys[0].sha256: this is not text (put it in quotes)",
    ),
    "a key that YAML takes for an alias": (
        keys(KEY.replace(SHA, f"*{SECRET}")),
        "3:23: keys[0].sha256: nothing before this is anchored as this",
    ),
    "a list of keys themselves": (
        f"version: 1\nkeys: [{SECRET}]\n",
        "2:8: keys[0]: this is not a map of keys and values (known here)",
    ),
    "the digest of nothing": (
        keys(KEY.replace(SHA, NOTHING)),
        "3:23: keys[0].sha256: this is the SHA-256 of nothing: the key was empty when it was hashed",
    ),
    "a webhook without a secret": (
        f"version: 1\nwebhooks:\n  - {HOOK.replace(', secret_env: A', '')}\n",
        "3:5: webhooks[0]: a webhook needs a secret: write secret_env or secret_file, and one of them",
    ),
    "a secret for the name of its variable": (
        f"version: 1\nwebhooks:\n  - {HOOK.replace('_env: A', f'_env: whsec_{SECRET}=')}\n",
        (
            "3:58: webhooks[0].secret_env: this is not the name of an environment variable (the secret belongs into the"
            " variable, not here)"
        ),
    ),
    "a secret for its file": (
        f"version: 1\nwebhooks:\n  - {HOOK.replace('_env: A', f'_file: whsec_{SECRET}')}\n",
        (
            "3:59: webhooks[0].secret_file: this is not the absolute path of a file (the secret belongs into the file, not"
            " here)"
        ),
    ),
    "a client's secret where its variable belongs": (
        log_in(OIDC.replace("_env: A", f"_env: '{SECRET}='")),
        (
            "3:88: console.oidc.client_secret_env: this is not the name of an environment variable (the secret belongs into"
            " the variable, not here)"
        ),
    ),
    "a client's secret inline": (
        log_in(OIDC.replace("_env: A", f": {SECRET}")),
        "3:69: console.oidc.client_secret: unknown key (did you mean client_secret_env?)",
    ),
    "a log-in without a secret": (
        log_in(OIDC.replace(", client_secret_env: A", "")),
        ("3:17: console.oidc: a log-in needs a secret: write client_secret_env or client_secret_file, and one of them"),
    ),
    "a log-in with two secrets": (
        log_in(OIDC.replace("_env: A", "_env: A, client_secret_file: /a")),
        ("3:17: console.oidc: a log-in needs a secret: write client_secret_env or client_secret_file, and one of them"),
    ),
    "a log-in that everybody can read": (
        log_in(OIDC.replace("https", "http"), PEOPLE.replace("https", "http")),
        "3:26: console.oidc.issuer: a secret over a connection that everybody can read (write https://host/path)",
    ),
    "a log-in for another audience than any entry's": (
        log_in(OIDC.replace("airlock", "other")),
        (
            "3:17: console.oidc: nobody could log in: an entry of keys is needed that is no agent's, with jwt.issuer as"
            " issuer here, and jwt.audience as client_id"
        ),
    ),
    "a log-in that only agents' entries are for": (
        log_in(OIDC, PEOPLE.replace("[reviewer]", "[agent]")),
        (
            "3:17: console.oidc: nobody could log in: an entry of keys is needed that is no agent's, with jwt.issuer as"
            " issuer here, and jwt.audience as client_id"
        ),
    ),
    "an address with a password": (
        f"version: 1\nwebhooks:\n  - {HOOK.replace('hooks', f'me:{SECRET}@hooks')}\n",
        "3:20: webhooks[0].url: this is not an address (write https://host/path, without a user and without #)",
    ),
}


@pytest.mark.parametrize(("content", "says"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_refused_at_its_line_in_words_that_help(
    tmp_path: Path, content: str | bytes, says: str
) -> None:
    path = tmp_path / "policy.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(PolicyError) as caught:
        read_policy(path)
    told = re.sub(r"\(known here: [^)]*\)", "(known here)", str(caught.value).removeprefix(f"{path}:"))
    assert re.fullmatch(re.escape(says).replace(r"\.\.\.", ".*"), told.splitlines()[0])
    assert SECRET not in str(caught.value) + repr(caught.value.problems), "a secret that was misplaced is not repeated"
    assert "pydantic" not in told


def test_an_inline_secret_is_refused_and_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(f"version: 1\nwebhooks:\n  - {HOOK.replace('secret_env: A', f'secret: whsec_{SECRET}')}\n")
    with pytest.raises(PolicyError) as caught:
        read_policy(path)
    assert str(caught.value) == f"{path}:3:46: webhooks[0].secret: unknown key (did you mean secret_env?)"
