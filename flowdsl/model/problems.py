"""The mistakes a definition can hold: a stable code for each, and why each is one."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Code(StrEnum):
    """One code per kind of mistake; codes are never reused, so that a search for one finds one meaning.

    `PF-E…` keeps a flow from being used, `PF-W…` is a warning.
    """

    BAD_SLUG = "PF-E101"
    UNKNOWN_DEPENDENCY = "PF-E102"
    DUPLICATE_STEP = "PF-E103"
    DUPLICATE_DEPENDENCY = "PF-E104"
    TYPE_MISMATCH = "PF-E105"
    WRONG_PARAMETER_COUNT = "PF-E106"
    MAP_OVER_NO_LIST = "PF-E107"
    COLLECT_FORGOTTEN = "PF-E108"
    COLLECT_OF_NO_MAP = "PF-E109"
    MISSING_ANNOTATION = "PF-E110"
    UNRESOLVED_ANNOTATION = "PF-E111"
    BAD_OPTION = "PF-E112"
    ARRAY_RETURNS_NO_LIST = "PF-E113"
    NO_JSON = "PF-E114"
    TOO_MANY_DEPENDENCIES = "PF-E115"
    KEYWORD_ONLY_PARAMETER = "PF-E116"
    SWAPPED_PARAMETERS = "PF-E117"
    UNKNOWN_STEP = "PF-E118"
    BAD_HANDLER = "PF-E119"
    NO_STEPS = "PF-E120"
    NO_PATTERN = "PF-E121"
    UNKNOWN_PATTERN_KEY = "PF-E122"
    IMPOSSIBLE_PATTERN = "PF-E123"
    POINTLESS_MODE = "PF-E124"
    MAYBE_FORGOTTEN = "PF-E125"
    MAYBE_WITHOUT_SKIP = "PF-E126"
    UNTRACEABLE_PREDICATE = "PF-E127"
    IMPOSSIBLE_PREDICATE = "PF-E128"
    POINTLESS_PREDICATE = "PF-E129"
    WRONG_ARGUMENTS = "PF-E130"
    INPUT_IS_NO_TYPE = "PF-E131"
    RETURNS_TWICE = "PF-E132"
    UNUSABLE_MODULE = "PF-E133"
    DUPLICATE_FLOW = "PF-E134"
    UNREACHABLE_IN_CHILD = "PF-E135"
    LOSSY_JSON = "PF-W201"
    UNREAD_OUTPUT = "PF-W202"
    DROPPED_FLOW = "PF-W203"


WHY: Final[Mapping[str, str]] = MappingProxyType(
    {
        Code.BAD_SLUG: "Slugs name flows and steps in SQL, in file names and on the command line; 'run' is the run's input.",
        Code.UNKNOWN_DEPENDENCY: "A step is called with the outputs of steps that stand before it in the same flow.",
        Code.DUPLICATE_STEP: "The slug is what tells two steps of a flow apart, in the database and in patterns.",
        Code.DUPLICATE_DEPENDENCY: "A step is given each of its inputs once, under the slug of the step it comes from.",
        Code.TYPE_MISMATCH: "The handler would be called with a value it does not expect.",
        Code.WRONG_PARAMETER_COUNT: "A handler is called with one value per dependency, in their order.",
        Code.MAP_OVER_NO_LIST: "A map has a task for each element of a list, and here is none.",
        Code.COLLECT_FORGOTTEN: "A map step has a result per element, and there is no single one to hand on.",
        Code.COLLECT_OF_NO_MAP: "collect gathers the many results of a map step; any other step has one.",
        Code.MISSING_ANNOTATION: "Values are checked, and read from JSON, by the annotations of handlers.",
        Code.UNRESOLVED_ANNOTATION: "Annotations are read when the flow is defined, so their names must be there at run time.",
        Code.BAD_OPTION: "Options are taken literally; one that is not understood would silently do nothing.",
        Code.ARRAY_RETURNS_NO_LIST: ".array promises a list, for a map to run over.",
        Code.NO_JSON: "All values of a run are stored as JSON and have to come back as they were.",
        Code.TOO_MANY_DEPENDENCIES: "Type checkers know .step, .array and .map up to that many.",
        Code.KEYWORD_ONLY_PARAMETER: "Handlers are called with positional arguments only.",
        Code.SWAPPED_PARAMETERS: "Values are matched by position; the types fit either way, so nothing else would notice.",
        Code.UNKNOWN_STEP: "Only a step of this flow has an output to ask for.",
        Code.BAD_HANDLER: "A handler is a function (or a method, partial or callable object) that is called and returns.",
        Code.NO_STEPS: "A run of it would have nothing to do.",
        Code.NO_PATTERN: "Conditions are judged by the database, which needs to be told what to look for.",
        Code.UNKNOWN_PATTERN_KEY: "The database looks for that key in the inputs, and it is never there.",
        Code.IMPOSSIBLE_PATTERN: "The database compares with that value, and the inputs never have it.",
        Code.POINTLESS_MODE: "There is nothing that could be unmet.",
        Code.MAYBE_FORGOTTEN: "When that step is skipped there is no value to hand on.",
        Code.MAYBE_WITHOUT_SKIP: "The handler would take care of a None that never comes.",
        Code.UNTRACEABLE_PREDICATE: "A predicate is traced once and evaluated by the database, which runs no Python.",
        Code.IMPOSSIBLE_PREDICATE: "The step would never run, and nobody would be told.",
        Code.POINTLESS_PREDICATE: "The step would run in any case, as without the condition.",
        Code.WRONG_ARGUMENTS: "The first arguments say what a flow or a step is; everything else has a name.",
        Code.INPUT_IS_NO_TYPE: "A flow is defined once for all runs; each run brings a value of that type.",
        Code.RETURNS_TWICE: "A run has one output; the later call would silently win.",
        Code.UNUSABLE_MODULE: "Flows are found by importing their modules.",
        Code.DUPLICATE_FLOW: "The slug is what tells two flows apart in the database.",
        Code.UNREACHABLE_IN_CHILD: "A child process finds functions and classes by their module and name.",
        Code.LOSSY_JSON: "Values are stored as JSON; what JSON lacks, only Python's annotations bring back.",
        Code.UNREAD_OUTPUT: "The run waits for the step, and then nobody looks at what it returned.",
        Code.DROPPED_FLOW: "A flow is immutable: each method returns the next one.",
    }
)
"""Why each is a mistake, in one sentence."""
