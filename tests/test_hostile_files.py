"""Every reader there is, on every kind of bad file: rows, errors with a rule, or a refusal; never anything else.

Readers of plugins are found by discovery, so a new one is tried here without a line.
"""

from __future__ import annotations

import gzip
import io
import os
import resource
import time
import zipfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import pytest

from instructforge.data import Row
from instructforge.errors import DataError, InstructForgeError
from instructforge.plugins import Forge

FORGE = Forge.discover()
READERS = [name for name in FORGE.readers if name != "datasets"]  # that one reads folders
SECONDS = 20.0
"""Of one file; a bound against hanging, far above what any of them takes."""
MEMORY = 700 << 20
"""Growth of the process over all files of a reader."""

GOOD = {
    "json": b'[{"a": "x", "b": 1}]',
    "jsonl": b'{"a": "x"}\n{"a": "y"}\n',
    "squad": b'{"data": [{"paragraphs": [{"context": "a b", "qas": [{"id": "1", "question": "q", "answers": []}]}]}]}',
    "tmx": b'<?xml version="1.0"?><tmx version="1.4"><body><tu><tuv xml:lang="en"><seg>a</seg></tuv></tu></body></tmx>',
    "conll": b"Ann\tB-PER\nsleeps\tO\n\n",
}
DEEP = b"[" * 10_000 + b"]" * 10_000


def zipped(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


@cache
def bomb(pack: Callable[[bytes], bytes]) -> bytes:
    """Pack 90 MB of nothing."""
    return pack(b'{"a": "' + b" " * (90 << 20) + b'"}\n')


CONTENTS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda good: b"",
    "one NUL": lambda good: b"\x00",
    "NUL within": lambda good: good[: len(good) // 2] + b"\x00" + good[len(good) // 2 :],
    "invalid UTF-8": lambda good: good[: len(good) // 2] + b"\xff\xfe\xfa" + good[len(good) // 2 :],
    "UTF-16": lambda good: good.decode().encode("utf-16"),
    "BOM": lambda good: b"\xef\xbb\xbf" + good,
    "CRLF": lambda good: good.replace(b"\n", b"\r\n"),
    "cut off": lambda good: good[: max(1, len(good) - 7)],
    "only brackets": lambda good: DEEP,
    "deep record": lambda good: b'{"a": ' + DEEP + b"}\n",
    "lone surrogate": lambda good: b'[{"a": "\\ud800", "b": "\\udc00x"}]',
    "NaN and Infinity": lambda good: b'[{"a": NaN, "b": Infinity, "c": -Infinity, "d": 1e999}]',
    "huge number": lambda good: b'[{"a": ' + b"9" * 100_000 + b"}]",
    "duplicate keys": lambda good: b'[{"a": 1, "a": 2}]',
    "long line": lambda good: b'{"a": "' + b"x" * (20 << 20) + b'"}\n' + good,
    "header only": lambda good: b"a,b\tc\n",
    "unclosed quote": lambda good: b'a,b\n"x,y\n' + b"z,w\n" * 1000,
    "not gzip": lambda good: b"\x1f\x8b\x08\x00 this is no gzip",
    "cut gzip": lambda good: gzip.compress(good * 50)[:-9],
    "gzip bomb": lambda good: bomb(gzip.compress),
    "zip of two": lambda good: zipped("a.json", good),
    "zip bomb": lambda good: bomb(partial(zipped, "a.jsonl")),
    "zip that climbs": lambda good: zipped("../../a.json", good),
    "cut zip": lambda good: zipped("a.json", good)[:-20],
    "entity bomb": lambda good: (
        b'<?xml version="1.0"?><!DOCTYPE t [<!ENTITY a "x"><!ENTITY b "' + b"&a;" * 1000 + b'"><!ENTITY c "'
        + b"&b;" * 1000 + b'">]><tmx version="1.4"><body><tu><tuv xml:lang="en"><seg>&c;</seg></tuv></tu></body></tmx>'
    ),
    "external entity": lambda good: (
        b'<?xml version="1.0"?><!DOCTYPE t [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
        b'<tmx version="1.4"><body><tu><tuv xml:lang="en"><seg>&a;</seg></tuv></tu></body></tmx>'
    ),
    "pretends to be parquet": lambda good: b"PAR1" + good + b"PAR1",
    "wrong types": lambda good: b'[1, null, "x", [1], {"a": [{}]}, true]',
    "control characters": lambda good: good.replace(b"a", b"\x1b[31m\x07\x9b"),
}  # fmt: skip


def tried(name: str, path: Path) -> tuple[int, int, bool]:
    """Return how many rows and errors a reader gives, and whether it refuses the file."""
    reader = FORGE.readers.get(name)
    rows = errors = 0
    refused: list[str] = []
    try:
        for found in reader.read(path, {}):
            assert isinstance(found, (Row, DataError))
            rows += isinstance(found, Row)
            if isinstance(found, DataError):
                errors += 1
                assert found.rule, f"{name}: an error without a rule: {found}"
    except InstructForgeError as error:
        refused.append(str(error))
    assert all(text.strip() for text in refused)
    hidden = [c for text in refused for c in text if ord(c) < 32 and c not in "\n\t"]
    assert not hidden, refused
    return rows, errors, bool(refused)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_bad_files_give_rows_errors_or_a_refusal(name: str, tmp_path: Path) -> None:
    suffix = (FORGE.readers.get(name).suffixes or ("",))[0]
    good = GOOD.get(name, b"a,b\nx,y\n" if suffix == ".csv" else b"a\tb\nx\ty\n")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number, (what, make) in enumerate(CONTENTS.items()):
        ending = {"gzip": ".gz", "cut gzip": ".gz", "gzip bomb": ".gz", "not gzip": ".gz"}.get(what, "")
        path = tmp_path / f"bad{number}{suffix}{ending}"
        path.write_bytes(make(good))
        begun = time.monotonic()
        rows, errors, refused = tried(name, path)
        assert rows + errors or refused or what in ("empty", "header only", "wrong types"), what
        assert time.monotonic() - begun < SECONDS, what
        path.unlink()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    assert grown < MEMORY


@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file_is_refused(name: str, tmp_path: Path) -> None:
    suffix = (FORGE.readers.get(name).suffixes or ("",))[0]
    missing, pipe, folder = tmp_path / f"missing{suffix}", tmp_path / f"pipe{suffix}", tmp_path / f"folder{suffix}"
    os.mkfifo(pipe)
    folder.mkdir()
    loop = tmp_path / f"loop{suffix}"
    loop.symlink_to(loop)
    for path in (missing, pipe, folder, loop, Path("/dev/zero")):
        assert tried(name, path)[2], path


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    "odd", ["with space", "名字", "semi;colon", "quote'", "new\nline", "-dash", "{{ braces }}", "%s"]
)
def test_odd_names_are_names(name: str, odd: str, tmp_path: Path) -> None:
    suffix = (FORGE.readers.get(name).suffixes or ("",))[0]
    path = tmp_path / f"{odd}{suffix}"
    path.write_bytes(GOOD.get(name, b"a,b\nx,y\n" if suffix == ".csv" else b"a\tb\nx\ty\n"))
    tried(name, path)
