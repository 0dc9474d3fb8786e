"""Errors a user can act on: each says what is wrong, where, and the next command.

TrueloopError            exit 1, the user can mend it
├── BadInput             a file, argument or request that cannot be used as given
├── BadRecipe            a recipe with an unknown or ill-typed field
├── BadModel             a model folder that is missing, corrupt or unsafe to load
├── NotFound             an id, path or name that does not exist
├── NotAllowed           the role or ownership forbids it
├── Conflict             the thing changed or was done already, in another way
├── MissingExtra         an optional dependency is not installed
├── WorkspaceError       a folder that is no workspace, or one of a newer version
├── Locked               another process is advancing this workspace
├── NotStored            the database could not take a write: disk full, I/O error, locked for minutes
└── Waiting              exit 3, a stage waits for people's labels
"""


class TrueloopError(Exception):
    """What is wrong, where, and the next command; printed as one paragraph, never as a traceback."""

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", next: str = "") -> None:
        self.what, self.where, self.next = what, where, next
        message = f"{where}: {what}" if where else what
        super().__init__(f"{message}. {next}" if next else message)


class BadInput(TrueloopError):
    """A file, argument or request that cannot be used as given."""


class BadRecipe(TrueloopError):
    """A recipe with an unknown or ill-typed field; names the nearest valid one."""


class BadModel(TrueloopError):
    """A model folder that is missing, corrupt, or holds pickles or remote code."""


class NotFound(TrueloopError):
    """An id, path or name that does not exist."""


class NotAllowed(TrueloopError):
    """The caller's role, or who owns the thing, forbids it."""


class Conflict(TrueloopError):
    """Already done, differently: a lease that ran out, a uuid used for something else."""


class WorkspaceError(TrueloopError):
    """A folder that is no workspace, or one written by a newer Trueloop."""


class Locked(TrueloopError):
    """Another process holds the workspace's lock."""


class NotStored(TrueloopError):
    """The database could not take a write; nothing of it was stored, and the same request may be sent again."""


class MissingExtra(TrueloopError):
    """An optional dependency is not installed."""

    def __init__(self, module: str, extra: str) -> None:
        self.module, self.extra = module, extra
        super().__init__(f"this needs the package '{module}'", next=f"Run: pip install 'trueloop[{extra}]'")


class Waiting(TrueloopError):
    """A stage waits for labels: `have` of `need` are there."""

    exit_code = 3

    def __init__(self, have: int, need: int, *, where: str = "") -> None:
        self.have, self.need = have, need
        super().__init__(f"{have} of {need} labels are in", where=where, next="Run: trueloop annotate")
