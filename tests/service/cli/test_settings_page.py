"""docs/settings.md and the Settings class say the same."""

from pathlib import Path

import pytest

from service.cli.serve import SECRETS
from service.cli.settings import describe, settings_table
from service.settings import Settings

PAGE = Path(__file__).parents[3] / "docs" / "settings.md"


def test_the_page_holds_exactly_the_table_that_the_class_gives():
    assert settings_table() in PAGE.read_text(), "write it anew: skeleton-prompt settings --markdown"


@pytest.mark.parametrize("row", describe(), ids=lambda row: row["field"])
def test_every_setting_says_what_it_does(row):
    assert len(row["description"]) > 10


def test_secrets_have_no_default_that_could_be_shown():
    assert {row["default"] for row in describe() if row["field"] in ("admin_key", "secret")} == {""}


def test_every_secret_is_refused_on_the_command_line():
    secret = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert len(secret) >= 3
    assert secret <= SECRETS
