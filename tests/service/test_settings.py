"""Settings: defaults of the embedded parts, and secrets that are made once and shown to nobody."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import RENAMED, Settings, ensure_secrets


@pytest.fixture(autouse=True)
def _no_settings_of_the_developer(monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.delenv(f"SKELETON_PROMPT_{name.upper()}", raising=False)


def test_the_environment_sets_every_setting_by_its_name_in_capitals(monkeypatch):
    monkeypatch.setenv("SKELETON_PROMPT_PORT", "1234")
    monkeypatch.setenv("SKELETON_PROMPT_REDIS_URL", "")
    settings = Settings()
    assert (settings.port, settings.redis_url) == (1234, None)


def test_embedded_defaults_lie_below_the_data_folder_and_what_is_given_stays(tmp_path):
    settings = Settings(data_dir=tmp_path).resolved()
    assert settings.database_url == f"sqlite:///{tmp_path}/skeleton-prompt.db"
    assert settings.blob_url == f"{tmp_path}/blobs"
    assert Settings(data_dir=tmp_path, blob_url="s3://bucket").resolved().blob_url == "s3://bucket"
    assert Settings(data_dir=Path("data")).resolved().data_dir.is_absolute()


def test_secrets_are_made_once_readable_by_the_owner_alone(tmp_path):
    first = ensure_secrets(Settings(data_dir=tmp_path))
    assert first.admin_key_generated
    second = ensure_secrets(Settings(data_dir=tmp_path))
    assert not second.admin_key_generated
    assert (first.admin_key, first.secret) == (second.admin_key, second.secret)
    assert first.admin_key.get_secret_value() != first.secret.get_secret_value()
    assert {path.name for path in tmp_path.iterdir()} == {"admin_key", "secret"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_processes_that_start_together_agree_on_the_secrets(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: ensure_secrets(Settings(data_dir=tmp_path)), range(8)))
    assert len({found.secret.get_secret_value() for found in made}) == 1
    assert sum(found.admin_key_generated for found in made) == 1


def test_given_secrets_are_written_nowhere_and_shown_in_no_repr(tmp_path):
    settings = Settings(data_dir=tmp_path, admin_key="k" * 16, secret="s" * 16)
    found = ensure_secrets(settings)
    assert found.admin_key.get_secret_value() == "k" * 16
    assert list(tmp_path.iterdir()) == []
    assert "k" * 16 not in repr(settings) + repr(found) + str(settings)


@pytest.mark.parametrize("key", ["short", "x" * 257, "tab\tinside-the-key", " spaces-around-it "])
def test_an_unusable_key_is_refused_without_repeating_it(key):
    with pytest.raises(ValidationError) as refused:
        Settings(admin_key=key)
    assert key not in str(refused.value)


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_a_renamed_setting_is_read_under_its_old_name_with_a_warning(monkeypatch, old, new):
    monkeypatch.setenv(f"SKELETON_PROMPT_{old.upper()}", "7")
    with pytest.warns(DeprecationWarning, match=f"renamed to SKELETON_PROMPT_{new.upper()}"):
        assert getattr(Settings(), new) == 7


def test_the_new_name_of_a_setting_has_precedence_over_the_old_one(monkeypatch):
    monkeypatch.setenv("SKELETON_PROMPT_QUEUE_SIZE", "7")
    monkeypatch.setenv("SKELETON_PROMPT_MAX_QUEUE_ROWS", "9")
    with pytest.warns(DeprecationWarning, match="QUEUE_SIZE"):
        assert Settings().max_queue_rows == 9
