"""What goes through the socket between the gateway and an engine process comes out as it went in."""

import dataclasses
import math
import socket
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from service.inference.local import ipc_codec
from skeleton_prompt.model.prompt_file import BackboneMismatch, BadPrompt
from tests.support.engine_rows import person, random_prompt, small_engine


@pytest.fixture
def ends():
    ours, its = socket.socketpair()
    with ours, its:
        for end in (ours, its):
            end.settimeout(10)
        yield ours, its


def through(ends, document):
    """A document, sent by a thread: it may be more than the socket's buffer holds."""
    with ThreadPoolExecutor(1) as executor:
        sent = executor.submit(ipc_codec.send, ends[0], document)
        found = ipc_codec.receive(ends[1])
        sent.result()
    return found


@pytest.mark.parametrize(("windows", "depth"), [(1, False), (3, True)])
def test_a_person(ends, windows, depth):
    sent = person(4, windows=windows, depth=depth)
    found = ipc_codec.decode_person(through(ends, ipc_codec.encode_person(sent)))
    for field in dataclasses.fields(sent):
        expected, value = getattr(sent, field.name), getattr(found, field.name)
        np.testing.assert_array_equal(value, expected)
        assert type(value) is type(expected), field.name


@pytest.mark.parametrize("options", [{}, {"curve": 3, "likeness": 5, "background": True, "temporal": 0.4}])
def test_a_prompt_keeps_all_that_predicting_needs(ends, options):
    sent = random_prompt(small_engine(), 1, **options)
    sent = dataclasses.replace(sent, calibration=dataclasses.replace(sent.calibration, distance=math.inf))
    found = ipc_codec.decode_prompt(through(ends, ipc_codec.encode_prompt(sent)))
    for name, value in sent.tensors.items():
        np.testing.assert_array_equal(found.tensors[name], value)
        assert found.tensors[name].flags.writeable, "torch warns of memory that it may not write to"
    same = {"tensors": sent.tensors, "metrics": sent.metrics}
    # Prompts are equal by identity, so they are compared as what they hold.
    assert vars(dataclasses.replace(found, **same)) == vars(dataclasses.replace(sent, **same))


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (BackboneMismatch("made for another"), BackboneMismatch, "made for another"),
        (BadPrompt("too short"), BadPrompt, "too short"),
        (KeyError("label"), RuntimeError, "KeyError('label')"),
    ],
)
def test_an_error_keeps_its_meaning_where_it_has_one_and_its_words(ends, error, kind, said):
    found = ipc_codec.decode_outcome(through(ends, {"outcome": ipc_codec.encode_outcome(error)})["outcome"])
    assert type(found) is kind
    assert str(found) == said


def test_logits_and_an_empty_array(ends):
    logits = np.array([1.5, -2.0, 3e-8], np.float32)
    np.testing.assert_array_equal(ipc_codec.decode_outcome(ipc_codec.encode_outcome(logits)), logits)
    assert ipc_codec.decode_array(
        through(ends, {"a": ipc_codec.encode_array(np.zeros((0, 7), np.float32))})["a"]
    ).shape == (0, 7)


def test_a_closed_end_is_told_from_a_silent_one(ends):
    ours, its = ends
    its.settimeout(0.01)
    with pytest.raises(TimeoutError):
        ipc_codec.receive(its)
    ours.sendall(b"\x10\0\0")
    ours.close()
    with pytest.raises(EOFError):
        ipc_codec.receive(its)
