"""Exceptions keep their class and their words when they cross a process boundary."""

import gc

import msgpack
import pytest

from service import errors
from service.error_codec import decode_error, encode_error, model_errors, service_errors
from service.inference.torchserve import codec

KINDS = [kind for kind in service_errors() if kind is not errors.ServiceError]


def through(error):
    return decode_error(msgpack.unpackb(msgpack.packb(encode_error(error))))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_service_error_arrives_as_itself(kind):
    problems = [{"loc": "keypoints", "rule": "finite", "message": "is NaN"}]
    sent = kind("what happened", errors=problems, errors_total=7, retry_after=2.5)
    for found in (through(sent), codec.decode_error(codec.encode_error(sent))):
        assert type(found) is kind
        assert (found.detail, found.errors, found.errors_total, found.retry_after) == (
            "what happened", problems, 7, 2.5,
        )  # fmt: skip


def test_no_two_service_errors_share_a_code():
    codes = [kind.code for kind in KINDS]
    assert len(set(codes)) == len(codes)


def test_a_service_error_that_was_added_just_now_needs_no_entry_anywhere():
    class Brief(errors.ServiceError):
        status, code, title = 418, "brief", "Brief"

    assert type(through(Brief("soon gone"))) is Brief
    del Brief
    gc.collect()  # other tests look at the subclasses


@pytest.mark.parametrize("kind", model_errors().values(), ids=lambda kind: kind.__name__)
def test_every_error_of_a_prompt_file_arrives_as_itself(kind):
    found = through(kind("made for another"))
    assert type(found) is kind
    assert str(found) == "made for another"


def test_any_other_exception_arrives_in_words():
    found = through(KeyError("label"))
    assert type(found) is RuntimeError
    assert str(found) == "KeyError('label')"


def test_a_code_of_a_later_release_is_a_service_error_with_its_detail():
    found = decode_error({"code": "of-tomorrow", "detail": "what happened", "retry_after": None})
    assert isinstance(found, errors.ServiceError)
    assert found.detail == "what happened"
