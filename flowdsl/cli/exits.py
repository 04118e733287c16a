"""Exit codes: which one each kind of error ends the command with. `pgflow --help` shows this table."""

from enum import IntEnum

from flowdsl.errors import (
    ClusterError,
    CompileError,
    ConfigError,
    DatabaseError,
    DefinitionError,
    FlowError,
    InputError,
    InvalidInput,
)


class ExitCode(IntEnum):
    """What a caller of the command may rely on."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNFIT = 3
    DATABASE = 4
    REFUSED = 5
    INTERRUPTED = 130
    TERMINATED = 143


# "\b" keeps the lines of this block as they are in the help.
EXPLANATION = """\b
Exit codes:
  0    done
  1    what was asked for failed: the run failed, was cancelled or did not end in time; pgflow check or --check found something
  2    the command line cannot be understood
  3    a flow, its input, the configuration or a migration is wrong
  4    the database, or the cluster of --executor, cannot be reached, or the SQL core is missing or of another version
  5    the database refused: it has no such run or flow, or another shape of the flow
  130  interrupted; 143 terminated; a worker that was asked to stop returns 0, or 1 when it leaves endless handlers
"""


def exit_code(error: FlowError) -> ExitCode:
    """Return the code that tells what kind of error this is."""
    if isinstance(error, (DefinitionError, CompileError, ConfigError, InputError, InvalidInput)):
        return ExitCode.UNFIT
    if isinstance(error, ClusterError):
        return ExitCode.DATABASE
    if isinstance(error, DatabaseError):
        return ExitCode.REFUSED if type(error).SQLSTATE is not None else ExitCode.DATABASE
    return ExitCode.FAILED
