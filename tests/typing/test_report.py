from tests.typing.entry import Unseen
from tests.typing.report import DEFINITION, rows
from tests.typing.table import TABLE
from tests.typing.verdict import Verdict


def test_report_counts_what_was_found_by_topic_and_ring() -> None:
    first = TABLE[0]
    report = rows(
        TABLE, {"strict": Verdict(), "blind": Verdict(missed=(first,), flagged=("x: 1",)), DEFINITION: Verdict()}
    )
    heading, *topics, everything, flagged = report
    assert heading == ["topic", "mistakes", "strict", "blind", "at definition", "not its business"]
    count = int(topics[0][1])
    assert topics[0][:4] == [first.topic, str(count), str(count), str(count - 1)]
    unseen = sum(isinstance(entry.says, Unseen) for entry in TABLE)
    assert everything[1:] == [*map(str, (len(TABLE), len(TABLE), len(TABLE) - 1, len(TABLE) - unseen, unseen))]
    assert flagged[2:5] == ["0", "1", "0"]
