"""The compiled record parser returns what kafka-python's own parser does."""

from typing import Any

from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError, KafkaError, UnsupportedCodecError
from kafka.record.default_records import DefaultRecordBatch
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

from ingest.record_parser import _PartitionRecords

PARTITION = TopicPartition("updates", 0)
GZIP, ZSTD = 1, 4
ATTRIBUTES_AT = DefaultRecordBatch.ATTRIBUTES_OFFSET
CRC_AT = ATTRIBUTES_AT - 4
LAST_OFFSET_DELTA_AT = ATTRIBUTES_AT + 2
RECORDS_AT = DefaultRecordBatch.HEADER_STRUCT.size
IS_CONTROL = 0x20

maybe_bytes = st.none() | st.binary(max_size=300)
headers = st.lists(st.tuples(st.text(max_size=20), maybe_bytes), max_size=4)
batches = st.lists(st.tuples(maybe_bytes, maybe_bytes, headers), min_size=1, max_size=6)


def batch(records: list[Any], *, offset: int = 0, magic: int = 2, compression: int = 0) -> bytes:
    builder = MemoryRecordsBuilder(magic, compression, 1 << 20, offset=offset)
    for number, (key, value, given_headers) in enumerate(records):
        builder.append(
            timestamp=1_700_000_000_000 + number, key=key, value=value, headers=given_headers
        )
    builder.close()
    return bytes(builder.buffer())


def with_checksum(raw: bytearray) -> bytes:
    raw[CRC_AT:ATTRIBUTES_AT] = crc32c(bytes(raw[ATTRIBUTES_AT:])).to_bytes(4, "big")
    return bytes(raw)


def unpacked(parser: Any, raw: bytes, *, at: int = 0) -> Any:
    """What a poll takes of a fetch from this offset on, and where the next fetch begins; or the error."""
    fetched = parser(at, PARTITION, MemoryRecords(raw))
    found = []
    try:
        while fetched:
            found += [(each.offset, each.value, each.headers) for each in fetched.take(2)]
    except KafkaError as error:
        return type(error), found
    has_read = fetched.records_read, bool(fetched.bytes_read)
    return found, fetched.next_fetch_offset, fetched.leader_epoch, has_read


def assert_same(raw: bytes, *, at: int = 0) -> Any:
    ours = unpacked(_PartitionRecords, raw, at=at)
    assert ours == unpacked(Fetcher.PartitionRecords, raw, at=at)
    return ours


@given(batches, batches, st.sampled_from([0, GZIP]), st.data())
def test_the_same_records(
    first: list[Any], second: list[Any], compression: int, data: st.DataObject
) -> None:
    values = [value for _, value, _ in first + second]
    raw = batch(first, compression=compression) + batch(second, offset=len(first))
    at = data.draw(st.integers(0, len(values) - 1))

    found, position, *_ = assert_same(raw, at=at)

    assert [value for _, value, _ in found] == values[at:]
    assert position == len(values)


@given(batches, st.data())
def test_the_same_refusals(records: list[Any], data: st.DataObject) -> None:
    raw = bytearray(batch(records))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(RECORDS_AT, len(raw) - 1))] = data.draw(st.integers(0, 255))
    assert_same(with_checksum(raw))


def test_a_wrong_checksum_is_refused() -> None:
    raw = bytearray(batch([(None, b"body", [])]))
    raw[-3] ^= 1
    assert assert_same(bytes(raw)) == (CorruptRecordError, [])


def test_a_header_that_is_no_text_is_refused() -> None:
    raw = bytearray(batch([(None, b"body", [("name", b"")])]))
    raw[raw.index(b"name")] = 0xFF
    assert assert_same(with_checksum(raw)) == (CorruptRecordError, [])


def test_a_codec_that_is_not_installed_is_refused() -> None:
    raw = bytearray(batch([(None, b"body", [])]))
    raw[ATTRIBUTES_AT + 1] |= ZSTD
    assert assert_same(with_checksum(raw)) == (UnsupportedCodecError, [])


def test_the_mark_of_a_transaction_is_no_message() -> None:
    mark = bytearray(batch([(b"\0\0\0\1", b"", [])], offset=1))
    mark[ATTRIBUTES_AT + 1] |= IS_CONTROL
    found, position, *_ = assert_same(batch([(None, b"body", [])]) + with_checksum(mark))
    assert found == [(0, b"body", [])]
    assert position == 2


def test_the_next_fetch_skips_offsets_that_were_compacted_away() -> None:
    raw = bytearray(batch([(None, b"body", [])]))
    raw[LAST_OFFSET_DELTA_AT : LAST_OFFSET_DELTA_AT + 4] = (7).to_bytes(4, "big")
    _, position, *_ = assert_same(with_checksum(raw))
    assert position == 8


def test_the_format_before_kafka_0_11() -> None:
    found, *_ = assert_same(batch([(None, b"body", None)], magic=1))
    assert found == [(0, b"body", [])]
