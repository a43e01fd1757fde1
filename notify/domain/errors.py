"""What can be wrong with an update; an error's text says what to do next."""


class Malformed(ValueError):
    """The update cannot be accepted: the text names the field and what it must be."""


class NewerVersion(Malformed):
    """The update has a `v` of a later release: a release that knows this `v` can read it."""

    def __init__(self, v: int, known: int) -> None:
        super().__init__(f"v is {v}, of a later release; this release reads v up to {known}")
        self.v = v


class NeedsUpgrade(RuntimeError):
    """A stream cannot go on with this release: the text is the reason for its halt."""


class PlanUnreadable(RuntimeError):
    """A recorded plan cannot be read by this version: deploy the version that wrote it, or a newer one."""


class ReplayDisagrees(RuntimeError):
    """The log and the recorded plan do not fit together: this version parses the message differently
    from the one that planned it. Deploy that version again, or replay after `stream resume`."""
