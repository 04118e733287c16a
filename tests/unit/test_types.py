from flowdsl.types import RunStatus, StepStatus, StepType, TaskStatus


def test_statuses_are_the_strings_the_database_stores() -> None:
    assert list(RunStatus) == ["started", "completed", "failed", "cancelled"]
    assert list(StepStatus) == ["created", "started", "completed", "failed", "skipped", "cancelled"]
    assert list(TaskStatus) == ["queued", "started", "completed", "failed", "skipped", "cancelled"]
    assert list(StepType) == ["single", "map"]


def test_statuses_print_as_their_value() -> None:
    assert f"{RunStatus.STARTED} {TaskStatus.QUEUED}" == "started queued"
