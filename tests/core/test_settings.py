"""Settings: every variable means what it says, and a mistyped one stops the start."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.settings import Address, ClientSettings, Settings, SettingsError, read


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("LISTEN", "DATA", "POLICY", "DATABASE_URL", "LOG", "URL", "KEY"):
        monkeypatch.delenv(f"AIRLOCK_{name}", raising=False)
    monkeypatch.chdir(tmp_path)


def test_without_variables_it_listens_on_loopback_and_keeps_its_data_here(tmp_path: Path) -> None:
    settings = read(Settings)
    assert settings.listen == Address("127.0.0.1", 8080)
    assert settings.loopback
    assert settings.policy == Path(__file__).parents[2] / "policies" / "default.yaml"
    assert settings.log == "info"
    assert settings.database.startswith("sqlite:////")
    assert settings.data.is_absolute()
    assert tmp_path.exists()


def test_every_variable_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRLOCK_LISTEN", "[::]:9090")
    monkeypatch.setenv("AIRLOCK_DATA", "elsewhere")
    monkeypatch.setenv("AIRLOCK_POLICY", "/etc/airlock/strict.yaml")
    monkeypatch.setenv("AIRLOCK_DATABASE_URL", "postgresql+psycopg://airlock:secret@db/airlock")
    monkeypatch.setenv("AIRLOCK_LOG", "debug")
    settings = read(Settings)
    assert settings.listen == Address("::", 9090)
    assert not settings.loopback
    assert settings.data == tmp_path / "elsewhere"
    assert settings.policy == Path("/etc/airlock/strict.yaml")
    assert settings.database == "postgresql+psycopg://airlock:secret@db/airlock"
    assert settings.log == "debug"
    assert "secret" not in repr(settings)


def test_the_database_is_in_the_data_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRLOCK_DATA", "d")
    assert read(Settings).database == f"sqlite:///{tmp_path}/d/airlock.db"


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRLOCK_LISTEN", "")
    monkeypatch.setenv("AIRLOCK_KEY", "")
    assert read(Settings).listen == Address("127.0.0.1", 8080)
    assert read(ClientSettings).key is None


@pytest.mark.parametrize(
    ("listen", "loopback"),
    [
        ("127.0.0.1:0", True),
        ("127.8.9.1:80", True),
        ("localhost:80", True),
        ("LOCALHOST:80", True),
        ("[::1]:80", True),
        ("0.0.0.0:80", False),
        ("[::]:80", False),
        ("10.0.0.1:80", False),
        ("[::ffff:127.0.0.1]:80", False),
        ("localhost.example.com:80", False),
        ("127.1:80", False),
    ],
)
def test_what_is_loopback(monkeypatch: pytest.MonkeyPatch, listen: str, *, loopback: bool) -> None:
    monkeypatch.setenv("AIRLOCK_LISTEN", listen)
    assert read(Settings).loopback is loopback


@pytest.mark.parametrize("listen", ["8080", ":8080", "::1:8080", "[::1]", "a b:1", "h:65536", "h:-1", "h:x", "h:1\n"])
def test_an_address_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, listen: str) -> None:
    monkeypatch.setenv("AIRLOCK_LISTEN", listen)
    with pytest.raises(SettingsError, match="AIRLOCK_LISTEN: must be host:port"):
        read(Settings)


def test_an_unknown_variable_is_refused_with_the_likely_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRLOCK_POLCY", "x.yaml")
    monkeypatch.setenv("AIRLOCK_WHATEVER", "x")
    monkeypatch.setenv("AIRLOCK_LOG", "loud")
    with pytest.raises(SettingsError) as caught:
        read(Settings)
    assert "AIRLOCK_POLCY: no such setting; did you mean AIRLOCK_POLICY?" in str(caught.value)
    assert "AIRLOCK_WHATEVER: no such setting" in str(caught.value)
    assert "AIRLOCK_LOG: " in str(caught.value)


def test_what_belongs_to_scripts_and_clients_is_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRLOCK_CACHE", "/var/cache/airlock")
    monkeypatch.setenv("AIRLOCK_TEST_ENGINE", "1")
    monkeypatch.setenv("AIRLOCK_URL", "https://airlock.example.com")
    monkeypatch.setenv("AIRLOCK_KEY", "k")
    read(Settings)


def test_a_value_is_never_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRLOCK_DATABASE_URL", "hunter2")
    with pytest.raises(SettingsError, match="AIRLOCK_DATABASE_URL") as caught:
        read(Settings)
    assert "hunter2" not in str(caught.value)


def test_a_client_finds_the_server_of_its_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(ClientSettings).base_url == "http://127.0.0.1:8080"
    monkeypatch.setenv("AIRLOCK_LISTEN", "[::]:9090")
    assert read(ClientSettings).base_url == "http://[::1]:9090"
    monkeypatch.setenv("AIRLOCK_URL", "https://airlock.example.com/")
    monkeypatch.setenv("AIRLOCK_KEY", "secret-key")
    client = read(ClientSettings)
    assert client.base_url == "https://airlock.example.com"
    assert "secret-key" not in repr(client)
