"""The settings that bound a bridge's work: its window, chunks, tasks and retries."""

from dataclasses import dataclass, replace

from notify.domain.engine import stream
from notify.domain.engine import window as windows
from notify.domain.records.update import READS


@dataclass(frozen=True, slots=True)
class BridgeLimits:
    """The bridge's settings; see notify/settings.py for each."""

    window_offsets: int = windows.WINDOW_OFFSETS
    window_bytes: int = windows.WINDOW_BYTES
    chunk_messages: int = windows.CHUNK_MESSAGES
    short_chunk_messages: int = windows.SHORT_CHUNK_MESSAGES
    chunk_bytes: int = windows.CHUNK_BYTES
    task_rows: int = windows.TASK_ROWS
    task_bytes: int = windows.TASK_BYTES
    shared_rows: int = windows.SHARED_ROWS
    resend_after_ms: int = 2_000
    resend_after_max_ms: int = 8_000
    hot_records: int = 200
    hot_apps: int = 200
    unread_after_ms: int = 10_000
    refused_records: int = 200
    #: The highest `v` of a message that this release reads.
    reads: int = READS

    @property
    def dead_letters_max(self) -> int:
        """How many dead letters a stream may have at or after its frontier before it halts."""
        return stream.dead_letters_max(self.window_offsets)

    def with_short_chunks(self) -> "BridgeLimits":
        """The same for a tick whose chunks are short."""
        return replace(self, chunk_messages=min(self.chunk_messages, self.short_chunk_messages))
