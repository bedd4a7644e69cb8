import numpy as np
import pytest

from service.errors import InvalidRequest, NotFound, StorageUnavailable
from service.storage.repositories.clips import blob_name
from tests.support.storage_fixtures import clip


def test_a_clip_comes_back_as_it_was_stored(mine):
    sent = clip(label="wave", group="anna", id="mine-1", image_size=[640, 480])
    record, found = mine.get_clip(mine.add_clips([sent], source="tune")[0])
    np.testing.assert_array_equal(found.positions, sent.positions)
    np.testing.assert_array_equal(found.confidence, sent.confidence)
    assert (found.label, found.group, found.id, found.image_size) == ("wave", "anna", "mine-1", (640, 480))
    assert (record.label, record.group, record.client_id, record.source) == ("wave", "anna", "mine-1", "tune")
    assert (record.frames, record.people, record.layout) == (6, 1, "coco17")
    assert record.created.tzinfo is not None


def test_background_is_told_from_a_clip_without_a_label(mine):
    ids = mine.add_clips([clip(label=None)], source="tune")
    record, found = mine.get_clip(ids[0])
    assert record.background
    assert found.background
    assert found.label is None


def test_clips_are_paged_oldest_first_and_chosen_by_label(mine):
    ids = mine.add_clips([clip("squat" if n % 2 else "wave", seed=n) for n in range(5)], source="upload")
    first = mine.list_clips(limit=2)
    second = mine.list_clips(limit=2, after=first.next)
    third = mine.list_clips(limit=2, after=second.next)
    assert sorted(c.id for page in (first, second, third) for c in page.items) == sorted(ids)
    assert third.next is None
    assert {c.id for c in mine.list_clips(label="squat").items} == {ids[1], ids[3]}


@pytest.mark.parametrize("cursor", ["", "é", "x" * 65, "\n"])
def test_a_cursor_that_cannot_be_one_is_refused(mine, cursor):
    with pytest.raises(InvalidRequest):
        mine.list_clips(after=cursor)


def test_clips_are_loaded_in_the_order_asked_for_and_deleted_ones_left_out(mine):
    ids = mine.add_clips([clip(seed=n) for n in range(3)], source="tune")
    mine.delete_clip(ids[1])
    assert [record.id for record, _ in mine.load_clips([ids[2], ids[1], ids[0]])] == [ids[2], ids[0]]
    assert [record.id for record, _ in mine.load_clips()] == sorted([ids[0], ids[2]])


def test_a_deleted_clip_leaves_no_row_and_no_file(storage, mine):
    (clip_id,) = mine.add_clips([clip()], source="tune")
    mine.delete_clip(clip_id)
    assert storage.blobs.names(f"tenants/{mine.tenant}") == []
    for look in (mine.get_clip, mine.delete_clip):
        with pytest.raises(NotFound):
            look(clip_id)


def test_another_tenants_clip_cannot_be_read_listed_or_deleted(mine, other):
    (clip_id,) = other.add_clips([clip()], source="tune")
    for look in (mine.get_clip, mine.delete_clip):
        with pytest.raises(NotFound):
            look(clip_id)
    assert mine.list_clips().items == []
    assert list(mine.load_clips([clip_id])) == []
    assert other.get_clip(clip_id)[0].id == clip_id


def test_clips_of_a_tenant_that_is_gone_are_refused_and_leave_no_file(storage):
    with pytest.raises(NotFound):
        storage.tenant("never-made").add_clips([clip()], source="tune")
    assert storage.blobs.names("tenants/never-made") == []


def test_a_damaged_clip_file_is_named_and_harms_no_other_clip(storage, mine):
    broken, sound = mine.add_clips([clip(seed=1), clip(seed=2)], source="tune")
    name = blob_name(mine.tenant, broken)
    storage.blobs.write(name, storage.blobs.read(name)[:100])
    with pytest.raises(StorageUnavailable, match=broken):
        mine.get_clip(broken)
    assert mine.get_clip(sound)[0].id == sound
    mine.delete_clip(broken)


def test_stored_bytes_are_the_sum_of_the_files(storage, mine):
    ids = mine.add_clips([clip(seed=n) for n in range(3)], source="tune")
    assert mine.stored_bytes() == sum(len(storage.blobs.read(blob_name(mine.tenant, i))) for i in ids)
