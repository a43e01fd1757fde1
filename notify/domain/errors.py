"""Errors of the domain. The text of an error says what to do next."""


class Malformed(ValueError):
    """The update is invalid. The text names the field and what it must be."""


class NewerVersion(Malformed):
    """The update has a `v` of a later release: a release that knows this `v` can read it."""

    def __init__(self, v: int, known: int) -> None:
        super().__init__(f"v is {v}, of a later release; this release reads v up to {known}")
        self.v = v


class NeedsUpgrade(RuntimeError):
    """A stream must halt until bridges are upgraded. The text is the reason of the halt."""


class PlanUnreadable(RuntimeError):
    """This release cannot read a recorded plan: deploy the release that wrote it, or a newer one."""


class ReplayDisagrees(RuntimeError):
    """The log and the recorded plan do not fit together: this version parses the message differently
    from the one that planned it. Deploy that version again, or replay after `stream resume`."""


class UnknownTask(Exception):
    """A worker cannot apply the task, or not all of it: its bridge is of a later release."""
