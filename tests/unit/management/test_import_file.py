"""An export as a file: its lines with their numbers, whatever is wrong with some of them."""

import gzip
import json
from pathlib import Path

import pytest

from notify.management.onesignal import export_file
from notify.management.onesignal.export_file import Line, NotAnExport, open_export

HEADER = "id,identifier,device_type\n"


def read(path: Path) -> list[Line]:
    with open_export(path) as export:
        return list(export.lines())


def written(directory: Path, content: str | bytes, *, packed: bool = False) -> Path:
    path = directory / "export"
    body = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(body) if packed else body)
    return path


def users(count: int) -> list[dict[str, object]]:
    return [{"identity": {"external_id": f"u{n}"}, "properties": {}} for n in range(count)]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_csv_by_column(tmp_path: Path, packed: bool, mark: bytes) -> None:
    path = written(tmp_path, mark + f"{HEADER}a,t,1\n\nb,,0\n".encode(), packed=packed)
    assert read(path) == [
        Line(2, {"id": "a", "identifier": "t", "device_type": "1"}),
        Line(4, {"id": "b", "identifier": "", "device_type": "0"}),
    ]


def test_an_entry_of_several_lines_has_the_number_of_its_first(tmp_path: Path) -> None:
    path = written(tmp_path, f'{HEADER}a,"one\ntwo",1\nb,,0\n')
    assert [line.number for line in read(path)] == [2, 4]


def test_a_bad_line_costs_itself_alone(tmp_path: Path) -> None:
    too_wide = f'a,"{"x" * 200_000}",1'
    path = written(tmp_path, f"{HEADER}a\n{too_wide}\nb,,0\n")
    first, second, third = read(path)
    assert first == Line(2, None, "it has 1 cells, but the first line has 3")
    assert (second.number, second.fields) == (3, None)
    assert "larger than field limit" in second.error
    assert (third.number, third.error) == (4, "")


def test_a_line_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_file, "LINE_CHARS_MAX", 50)
    path = written(tmp_path, f"{HEADER}{'x' * 170}\nb,,0\n")
    long, good = read(path)
    assert long == Line(2, None, "the line has more than 50 characters")
    assert (good.number, good.fields) == (3, {"id": "b", "identifier": "", "device_type": "0"})


def test_a_quote_that_is_not_closed_says_which_lines_it_took(tmp_path: Path) -> None:
    rows = "".join(f"{n},{'x' * 1000},1\n" for n in range(300))
    path = written(tmp_path, f'{HEADER}a,"open,1\n{rows}')
    first, *rest = read(path)
    assert first.number == 2
    assert first.error.startswith("lines 2 to ")
    last = int(first.error.split()[3].rstrip(":"))
    assert [line.number for line in rest] == list(range(last + 1, 303))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("\n".join(json.dumps(each) for each in users(3)), [1, 2, 3]),
        (json.dumps(users(3)), [1, 1, 1]),
        (json.dumps(users(3), indent=2), [2, 8, 14]),
        (json.dumps(users(3), indent=0), [2, 8, 14]),
        ("\n\n".join(json.dumps(each, indent=2) for each in users(3)), [1, 8, 15]),
        (json.dumps(users(1)[0]) * 3, [1, 1, 1]),
    ],
    ids=["lines", "list", "indented list", "list with line ends", "one by one", "side by side"],
)
def test_users_in_every_form(tmp_path: Path, text: str, numbers: list[int], packed: bool) -> None:
    found = read(written(tmp_path, text, packed=packed))
    assert [line.number for line in found] == numbers
    wanted = users(3) if "u2" in text else users(1) * 3
    assert [line.fields for line in found] == wanted


def test_users_across_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, json.dumps(users(200), indent=0))
    whole = read(path)
    monkeypatch.setattr(export_file, "_CHUNK_CHARS", 7)
    assert read(path) == whole
    assert len(whole) == 200


def test_a_broken_user_costs_itself_alone(tmp_path: Path) -> None:
    one, two = (json.dumps(each) for each in users(2))
    path = written(tmp_path, f'{one}\n{{"identity": \n  {{\n{two}\n7\n{one[:9]}')
    first, broken, good, number, cut = read(path)
    assert (first.number, first.fields) == (1, users(1)[0])
    assert (broken.number, broken.fields) == (2, None)
    assert broken.error.startswith("lines 2 to 3: it is not JSON")
    assert (good.number, good.fields) == (4, users(2)[1])
    assert number == Line(5, None, "it is not a JSON object")
    assert (cut.number, cut.fields) == (6, None)


def test_a_user_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_file, "USER_CHARS_MAX", 200)
    monkeypatch.setattr(export_file, "_CHUNK_CHARS", 50)
    one, two = (json.dumps(each) for each in users(2))
    path = written(tmp_path, f'{one}\n{{"a": "{"x" * 1000}"}}\n{two}\n')
    found = read(path)
    assert [line.fields for line in found if line.fields] == users(2)
    assert all(line.number == 2 for line in found if not line.fields)


def test_bytes_that_are_no_text_cost_nothing_else(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER.encode() + b"a,\xff,1\nb,,0\n")
    first, second = read(path)
    assert first.fields == {"id": "a", "identifier": "\udcff", "device_type": "1"}
    assert second.fields is not None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "the file is empty"),
        (" \n", "the file is empty"),
        ("id,identifier\n", "no column device_type"),
        ("subscribed,last_active,player_id,tags\n", "csv_export"),
        (f"{HEADER.strip()},id\n", "twice"),
        (gzip.compress(HEADER.encode(), mtime=0)[:-9], "is cut off"),
        (gzip.compress(b"", mtime=0)[:12], "is cut off"),
    ],
)
def test_what_is_no_export_is_said_at_once(
    tmp_path: Path, content: str | bytes, reason: str
) -> None:
    with pytest.raises(NotAnExport, match=reason):
        read(written(tmp_path, content))


def test_an_export_that_is_cut_gives_what_it_has(tmp_path: Path) -> None:
    body = HEADER.encode() + b"".join(b"%064d,,1\n" % n for n in range(20_000))
    path = written(tmp_path, gzip.compress(body)[:-2000])
    found: list[Line] = []
    with open_export(path) as export, pytest.raises(NotAnExport, match="is cut off"):
        found.extend(export.lines())
    assert [line.number for line in found] == list(range(2, len(found) + 2))
    assert 0 < len(found) < 20_000


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotAnExport, match="No such file"), open_export(tmp_path / "no"):
        pass


def test_how_much_is_read(tmp_path: Path) -> None:
    with open_export(written(tmp_path, f"{HEADER}a,,1\n")) as export:
        assert len(list(export.lines())) == 1
        assert export.fraction == 1.0
