"""A name server that a test can silence, and what makes a process ask it.

The processes have the resolver's configuration of a pod in Kubernetes, mounted over /etc/resolv.conf for them
alone. While the server is silent, glibc asks for a name with its first suffix, and then as it is: twice each,
for 5 s each time, unless RES_OPTIONS says otherwise. No client library can end a look-up earlier.
"""

import contextlib
import random
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Final

_SEARCH: Final = ("default.svc.cluster.local", "svc.cluster.local", "cluster.local")
_A: Final = 1
#: QR, RD and RA of an answer's flags.
_ANSWER: Final = 0x8180
_DATAGRAM: Final = 4096


class Answers(Enum):
    """What the server answers to each question: the address, an error (RFC 1035), or nothing at all."""

    SILENCE = -1
    ADDRESS = 0
    SERVER_FAILURE = 2
    NO_SUCH_NAME = 3


class NameServer:
    """Answers for these names, each under the first suffix, with `address`, and knows no others."""

    def __init__(self, names: Sequence[str], directory: Path) -> None:
        self.answers = Answers.ADDRESS
        self.address = "127.0.0.1"
        self.asked = 0
        self._names = {f"{name}.{_SEARCH[0]}" for name in names}
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        # The port cannot be chosen in resolv.conf; the address can, so that no other server is in the way.
        own = ".".join(["127", *(str(random.randrange(1, 255)) for _ in range(3))])
        self._socket.bind((own, 53))
        self._configuration = directory / "resolv.conf"
        self._configuration.write_text(
            f"nameserver {own}\nsearch {' '.join(_SEARCH)}\noptions ndots:5\n"
        )
        self._configuration.chmod(0o644)
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def prefix(self) -> Sequence[str]:
        """The words before a command that make it ask this server."""
        mounted = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
        return ("unshare", "--mount", "--", "sh", "-c", mounted, str(self._configuration))

    def close(self) -> None:
        """Ends the server."""
        self._socket.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                question, sender = self._socket.recvfrom(_DATAGRAM)
                self.asked += 1
                if self.answers is not Answers.SILENCE:
                    self._socket.sendto(self._answer(question), sender)

    def _answer(self, question: bytes) -> bytes:
        name, end = _name(question)
        (kind,) = struct.unpack_from("!H", question, end)
        code, records = self.answers, b""
        if code is Answers.ADDRESS and name not in self._names:
            code = Answers.NO_SUCH_NAME
        elif code is Answers.ADDRESS and kind == _A:
            # The name is that of the question, at 12; class IN, no seconds to live, four bytes.
            records = struct.pack("!HHHIH", 0xC00C, _A, 1, 0, 4) + socket.inet_aton(self.address)
        head = struct.pack("!HHHHH", _ANSWER | code.value, 1, bool(records), 0, 0)
        return question[:2] + head + question[12 : end + 4] + records


def _name(question: bytes) -> tuple[str, int]:
    """The name that is asked for, and where it ends."""
    at, labels = 12, []
    while length := question[at]:
        labels.append(question[at + 1 : at + 1 + length].decode())
        at += 1 + length
    return ".".join(labels), at + 1


def lacking() -> str:
    """What this machine lacks for a name server of our own, or nothing."""
    with tempfile.TemporaryDirectory() as directory:
        try:
            with contextlib.closing(NameServer(("probe",), Path(directory))) as server:
                look_up = "import socket; socket.gethostbyname('probe')"
                argv = [*server.prefix, sys.executable, "-c", look_up]
                subprocess.run(argv, check=True, capture_output=True)
        except OSError as error:
            return f"a name server of our own needs root and unshare: {error}"
        except subprocess.CalledProcessError as error:
            return f"a name server of our own is not asked: {error.stderr.decode()[-300:].strip()}"
    return ""
