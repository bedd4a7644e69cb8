"""Job ids on the command line: a whole id, or the prefix that `jobs list` and the console show."""

from types import SimpleNamespace

import pytest

from service.cli.jobs import job_id
from service.cli.output import UsageError, printable

IDS = ["1a2216c9f021" + "0" * 20, "1a99" + "1" * 28, "77" + "2" * 30]


class Pages:
    """A client whose list of jobs comes in pages of one."""

    def jobs(self, tenant, *, limit, after):
        index = int(after or 0)
        more = str(index + 1) if index + 1 < len(IDS) else None
        return SimpleNamespace(items=[SimpleNamespace(job=IDS[index])], next=more)


def test_a_prefix_of_one_job_is_its_id_on_whichever_page_it_is():
    assert job_id(Pages(), "acme", "1a2216c9f021") == IDS[0]
    assert job_id(Pages(), "acme", "77") == IDS[2]


def test_a_whole_id_is_not_looked_up():
    assert job_id(None, "acme", "f" * 32) == "f" * 32


@pytest.mark.parametrize(("given", "message"), [("1a", "2 jobs have ids"), ("ff", "no job of tenant acme")])
def test_a_prefix_of_none_or_several_is_refused(given, message):
    with pytest.raises(UsageError, match=message):
        job_id(Pages(), "acme", given)


def test_control_characters_of_a_label_do_not_reach_the_terminal():
    assert printable("a\x1b[31mb\x01é") == "a\\x1b[31mb\\x01é"
