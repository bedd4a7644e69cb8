"""Stored clips: a row each, and the frames in a blob."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Select, delete, func, insert, select

from service.errors import NotFound, StorageUnavailable
from service.storage.records import ClipRecord, Page
from service.storage.repositories.scope import NOT_FOUND_MESSAGE, TenantScope, moment, new_id, plain_cursor
from service.storage.sql.tables import clips
from skeleton_prompt.clips.clip import Clip, InvalidClip, decode_clip, encode_clip


def clip_record(row: Any) -> ClipRecord:
    """A row of the table."""
    return ClipRecord(
        row.id,
        row.client_id,
        row.label,
        row.background,
        row.group,
        row.layout,
        row.frames,
        row.people,
        row.fps,
        row.bytes,
        moment(row.created),
        row.source,
    )


def blob_name(tenant: str, clip_id: str) -> str:
    """Where a clip's frames lie."""
    return f"tenants/{tenant}/clips/{clip_id}.npz"


class ClipRepository:
    """A tenant's clips."""

    def __init__(self, scope: TenantScope) -> None:
        self._scope = scope

    def add_clips(self, given: Sequence[Clip], *, source: str) -> list[str]:
        """Store clips, all or none.

        Args:
            given: Parsed clips.
            source: ``tune``, ``upload`` or ``feedback``.

        Returns:
            Their ids, in order.

        Raises:
            StorageFull, StorageUnavailable: Nothing was stored.
            NotFound: The tenant is gone.
        """
        if not given:
            return []
        scope, rows, written = self._scope, [], []
        try:
            for clip in given:
                data, clip_id = encode_clip(clip), new_id()
                written.append(blob_name(scope.tenant, clip_id))
                scope.blobs.write(written[-1], data)
                rows.append(self._clip_row(clip, clip_id, len(data), source))
            with scope.database.write() as connection:
                scope.require_tenant(connection)
                now = scope.database.clock(connection)
                connection.execute(insert(clips), [row | {"created": now} for row in rows])
        except BaseException:
            self._discard(written)
            raise
        return [row["id"] for row in rows]

    def _clip_row(self, clip: Clip, clip_id: str, size: int, source: str) -> dict[str, Any]:
        people, frames = clip.positions.shape[:2]
        return {
            "tenant": self._scope.tenant,
            "id": clip_id,
            "client_id": clip.id,
            "label": clip.label,
            "background": clip.background,
            "group": clip.group,
            "layout": clip.layout.name,
            "frames": frames,
            "people": people,
            "fps": clip.fps,
            "bytes": size,
            "source": source,
        }

    def _discard(self, names: Sequence[str]) -> None:
        for name in names:
            # What cannot be deleted now is an orphan that the tenant's erasure will find.
            with contextlib.suppress(StorageUnavailable):
                self._scope.blobs.delete(name)

    def list_clips(self, limit: int = 50, after: str | None = None, label: str | None = None) -> Page[ClipRecord]:
        """Clips, oldest first."""
        query: Select[Any] = self._scope.select(clips).order_by(clips.c.id).limit(limit + 1)
        cursor = plain_cursor(after)
        if cursor is not None:
            query = query.where(clips.c.id > cursor)
        if label is not None:
            query = query.where(clips.c.label == label)
        with self._scope.database.read() as connection:
            rows = connection.execute(query).all()
        return Page([clip_record(row) for row in rows[:limit]], rows[limit - 1].id if len(rows) > limit else None)

    def get_clip(self, clip_id: str) -> tuple[ClipRecord, Clip]:
        """A clip with its frames.

        Raises:
            NotFound: The tenant has no such clip.
        """
        with self._scope.database.read() as connection:
            row = connection.execute(self._scope.select(clips, clips.c.id == clip_id)).first()
        if row is None:
            raise NotFound(NOT_FOUND_MESSAGE)
        try:
            return clip_record(row), decode_clip(self._scope.blobs.read(blob_name(self._scope.tenant, row.id)))
        except FileNotFoundError:
            raise NotFound(NOT_FOUND_MESSAGE) from None
        except InvalidClip as error:
            raise StorageUnavailable(f"The file of clip {row.id} is damaged; delete the clip.") from error

    def load_clips(self, ids: Sequence[str] | None = None) -> Iterator[tuple[ClipRecord, Clip]]:
        """Clips with their frames, one by one, in the order of ``ids``; those deleted meanwhile are left out."""
        wanted = ids if ids is not None else self._all_ids()
        for clip_id in wanted:
            found = None
            with contextlib.suppress(NotFound):
                found = self.get_clip(clip_id)
            if found is not None:
                yield found

    def _all_ids(self) -> list[str]:
        query = select(clips.c.id).where(clips.c.tenant == self._scope.tenant).order_by(clips.c.id)
        with self._scope.database.read() as connection:
            return list(connection.execute(query).scalars())

    def delete_clip(self, clip_id: str) -> None:
        """Erase a clip.

        Raises:
            NotFound: The tenant has no such clip.
        """
        with self._scope.database.write() as connection:
            mine = (clips.c.tenant == self._scope.tenant) & (clips.c.id == clip_id)
            if not connection.execute(delete(clips).where(mine)).rowcount:
                raise NotFound(NOT_FOUND_MESSAGE)
            self._scope.blobs.delete(blob_name(self._scope.tenant, clip_id))

    def stored_bytes(self) -> int:
        """Bytes of all clips."""
        query = select(func.coalesce(func.sum(clips.c.bytes), 0)).where(clips.c.tenant == self._scope.tenant)
        with self._scope.database.read() as connection:
            return int(connection.execute(query).scalar_one())
