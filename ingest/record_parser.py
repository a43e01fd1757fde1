"""Lets kafka-python's consumer unpack what it has fetched with aiokafka's compiled record parser.

kafka-python's parser is Python and needs 5.5 to 8 µs per record, aiokafka's 0.4 (decision 0052). Everything
else stays kafka-python's: connections, the group, positions, checksums, compression.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, Protocol

from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch
from kafka import KafkaConsumer
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError

#: The magic byte of the record format since Kafka 0.11, the only one that aiokafka's parser is used for.
_CURRENT_FORMAT: Final = 2


class Record(Protocol):
    """What `poll` of a consumer with this parser returns of a message."""

    @property
    def offset(self) -> int: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> list[tuple[str, bytes | None]]: ...


def use_compiled_parser(consumer: KafkaConsumer) -> None:
    """From now on, `consumer.poll` returns a `Record` for each message instead of a ConsumerRecord.

    The consumer must have no deserializers and read uncommitted messages too, as is the default. Its polls
    raise CorruptRecordError for records that cannot be read, as before.
    """
    consumer._fetcher.PartitionRecords = _PartitionRecords  # noqa: SLF001


class _PartitionRecords(Fetcher.PartitionRecords):  # type: ignore[misc] # kafka-python has no types
    """The records that one fetch brought of a partition."""

    def _unpack_records(self, tp: Any, records: Any, *_deserializers: Any) -> Iterator[Record]:
        self.bytes_read = records.size_in_bytes()
        while (batch := records.next_batch()) is not None:
            if self.check_crcs and not batch.validate_crc():
                raise CorruptRecordError(
                    f"{tp}: wrong checksum of the batch at {batch.base_offset}"
                )
            is_current = batch.magic == _CURRENT_FORMAT
            if is_current:
                self.leader_epoch = batch.leader_epoch
            try:
                for record in _records(batch) if is_current else batch:
                    self.records_read += 1
                    self.next_fetch_offset = record.offset + 1
                    yield record
            except (CorruptRecordException, ValueError) as error:
                raise CorruptRecordError(f"{tp}: {error}") from error
            if is_current:  # its last offsets may be of records that were compacted away
                self.next_fetch_offset = batch.next_offset
        self.drain()


def _records(batch: Any) -> Iterable[Record]:
    """The records of a batch of kafka-python, which has checked it."""
    if batch.is_control_batch:  # the mark of a transaction's end
        return ()
    if batch.compression_type:  # kafka-python unpacks more codecs
        return batch  # type: ignore[no-any-return]
    return DefaultRecordBatch(batch._buffer)  # type: ignore[no-any-return] # noqa: SLF001
