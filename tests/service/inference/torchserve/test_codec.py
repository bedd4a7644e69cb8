"""Rows in binary: what goes out comes in, and nothing else does."""

import time

import numpy as np
import pytest

from service import errors
from service.inference.interface import PredictionInput, PredictionResult
from service.inference.torchserve import codec
from skeleton_prompt.model.decision import Prediction
from skeleton_prompt.model.prompt_file import PromptRef
from skeleton_prompt.model.window_sums import WindowSums
from tests.support.engine_rows import person

REF = PromptRef("acme", 3, "a" * 64)


@pytest.mark.parametrize("depth", [False, True])
@pytest.mark.parametrize("threshold", [None, 0.0, 0.25])
def test_a_question_arrives_as_it_was_sent(depth, threshold):
    sent = PredictionInput(person(1, windows=3, depth=depth), REF, 7, threshold, time.monotonic() + 5)
    got = codec.decode_input(bytearray(codec.encode_input(sent)), codec.encode_headers(sent).get)
    assert (got.ref, got.top_k, got.threshold) == (sent.ref, sent.top_k, sent.threshold)
    assert got.deadline == pytest.approx(sent.deadline, abs=0.1)
    for name in ("pose", "depth", "log_seconds"):
        np.testing.assert_array_equal(getattr(got.person, name), getattr(sent.person, name))
    for name in ("has_depth", "visible", "frames", "motion"):
        assert getattr(got.person, name) == getattr(sent.person, name)


@pytest.mark.parametrize("cut", [0, 3, 39, 40, -1])
def test_a_row_that_is_cut_anywhere_is_refused(cut):
    sent = PredictionInput(person(1), REF, 7, None, time.monotonic() + 5)
    with pytest.raises(errors.MalformedBody, match="bytes"):
        codec.decode_input(codec.encode_input(sent)[:cut], codec.encode_headers(sent).get)


def test_answers_and_errors_arrive_as_they_were_sent():
    said = Prediction(None, False, 0.4, (("wave", 0.4), ("ü", 0.3)), "below_threshold")
    logits = np.array([1.5, -2.25], np.float32)
    answer, got = codec.decode_result(codec.encode_result(PredictionResult(said, "redis", 0.0, 1.5, 2.5), logits), 10.0)
    assert answer == PredictionResult(said, "redis", 6.0, 1.5, 2.5)
    np.testing.assert_array_equal(got, logits)
    error = codec.decode_error(codec.encode_error(errors.VersionNotFound("gone")))
    assert (type(error), error.detail) == (errors.VersionNotFound, "gone")


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x80", b"<html>"])
def test_what_cannot_be_read_means_that_the_engine_cannot_be_used(data):
    assert isinstance(codec.decode_error(data), errors.EngineUnavailable)
    with pytest.raises(errors.EngineUnavailable):
        codec.decode_result(data, 1.0)


@pytest.mark.parametrize("module", [None, np.array([1.0, -2.0], np.float32)])
def test_a_chunk_arrives_with_the_sums_of_the_windows_before_it(module):
    sums = WindowSums(8, np.arange(5, dtype=np.float32), None, module, np.ones(17, np.float32))
    asked = PredictionInput(person(1), REF, 7, None, time.monotonic() + 5)
    body = codec.encode_input(asked, person(2, windows=3, depth=True), sums, last=False)
    header = codec.encode_headers(asked).get
    got, before, last = codec.decode_row(body, header)
    np.testing.assert_array_equal(got.person.pose, person(2, windows=3, depth=True).pose)
    assert not last
    for name in ("windows", "features", "temporal", "module", "shown"):
        np.testing.assert_array_equal(getattr(before, name), getattr(sums, name))
    assert codec.decode_row(codec.encode_input(asked, person(2)), header)[1:] == (None, True)
    for damaged in (body[:-1], body + b"x"):
        with pytest.raises(errors.MalformedBody):
            codec.decode_row(damaged, header)
    found = codec.decode_partial(codec.encode_partial(sums, 3.5, 2))
    assert (found[0].windows, found[1:]) == (8, (3.5, 2))


def test_a_request_of_too_many_windows_is_refused():
    asked = PredictionInput(person(1), REF, 7, None, time.monotonic() + 5)
    body = codec.encode_input(asked, person(2, windows=65))
    with pytest.raises(errors.MalformedBody, match="1 to 64 windows"):
        codec.decode_row(body, codec.encode_headers(asked).get)
