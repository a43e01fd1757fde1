"""Names that are not answered, and names that move: a cluster's DNS in trouble, and a failover."""

from typing import Final

from tests.qa.faults.load import slowest_s, told
from tests.qa.faults.matrix import row
from tests.qa.faults.name_server import Answers, NameServer, lacking
from tests.qa.faults.scene import Kind, Scene
from tests.qa.faults.seen import Seen
from tests.qa.faults.wire import Wire

#: Longer than a look-up takes while the server is silent, with glibc's own limits (20 s).
AWAY_S: Final = 30.0
MOVED_TO: Final = "127.0.0.2"
#: A bridge waits for PostgreSQL until its deadline (35 s), then for Kafka, then a worker for PostgreSQL.
MOVED_BOUND_S: Final = 120


def _names(scene: Scene) -> NameServer:
    assert scene.names
    return scene.names


def _broken(scene: Scene, answers: Answers) -> Seen:
    names = _names(scene)

    def heal() -> None:
        names.answers = Answers.ADDRESS

    scene.later(heal)
    names.answers = answers
    return Seen(scene)


@row(
    "names-silent",
    "the name server answers nothing for 30 s; connections live on",
    bound_s=20,
    kind=Kind.NAMED,
    needs=lacking,
)
def _silent(scene: Scene) -> Seen:
    seen = _broken(scene, Answers.SILENCE)
    scene.flow(AWAY_S)
    return seen.saying(seen.all_acked())


def _add_cut(name: str, what: str, answers: Answers) -> None:
    def act(scene: Scene) -> Seen:
        names, seen = _names(scene), _broken(scene, answers)
        asked = names.asked
        dropped = sum(wire.drop() for wire in scene.wires.values())
        assert dropped, "there was no connection"
        scene.flow(AWAY_S)
        seen.until_now()
        assert names.asked > asked, "nobody asked for a name"
        calls = seen.calls()
        return seen.saying(
            f"{dropped} connections closed, {names.asked - asked} questions; {told(calls)}, "
            f"the slowest {slowest_s(calls):.1f} s"
        )

    row(
        name,
        f"every connection is closed, and the name server {what} for {AWAY_S:.0f} s",
        bound_s=30,
        kind=Kind.NAMED,
        needs=lacking,
    )(act)


_add_cut("names-silent-cut", "answers nothing", Answers.SILENCE)
_add_cut("names-failure-cut", "answers SERVFAIL", Answers.SERVER_FAILURE)
_add_cut("names-unknown-cut", "answers NXDOMAIN", Answers.NO_SUCH_NAME)


@row(
    "names-moved",
    "every name leads to another address, and the old one is silent for ever",
    bound_s=MOVED_BOUND_S,
    kind=Kind.NAMED,
    alone=True,
    needs=lacking,
)
def _moved(scene: Scene) -> Seen:
    seen = Seen(scene)
    for wire in scene.wires.values():
        scene.at_close(Wire(wire.target, host=MOVED_TO, port=wire.port).close)
        wire.cut()
    _names(scene).address = MOVED_TO
    return seen.saying("never healed")
