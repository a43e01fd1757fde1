"""A partition that is well, for tests to change."""

from typing import Final

from notify.monitoring.partition_state import StateBounds, StreamNow

STATE_BOUNDS: Final = StateBounds(stalled_s=10, lag_s=30, start_s=30)
STREAM: Final = StreamNow(
    stream=1, partition=0, planned=100, frontier=100, halted=None, is_draining=False, ticked_ago_s=0.2,
    starting_s=None, waiting_s=0, ago_s=0.5, bridge="host:7", log_end=100, lag_s=0, unread_s=0, unheard_s=0,
    held_bytes=0, held_writes=0, paused=False, lag_messages_before=0,
)  # fmt: skip
