"""When the pulse beats: decided by what it was told and when, without a clock or a database."""

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from flowdsl.gateway.pulse import Watch, Words, is_stopped

LEASE = 30.0
BEAT: dict[str, Any] = {"beat": "worker", "allow": 90.0}


def beats(watch: Watch, start: float, end: float) -> list[float]:
    """Return when the pulse beats, as its process does: it waits as long as it is told to, and looks."""
    now, found = start, []
    while now <= end:
        if watch.beat_for(now) is not None:
            found.append(now)
            watch.has_beaten(now)
        now += max(watch.wait(now), 0.001)
    return found


def heard(*words: tuple[float, dict[str, Any]]) -> Watch:
    watch = Watch(LEASE)
    for now, word in words:
        watch.hear(word, now)
    return watch


def test_it_is_silent_before_the_first_word() -> None:
    assert beats(Watch(LEASE), 0.0, 100.0) == []


def test_it_is_silent_as_long_as_the_worker_beats() -> None:
    watch = Watch(LEASE)
    for beat in range(100):
        watch.hear(BEAT, beat * 10.0)
        assert beats(watch, beat * 10.0, beat * 10.0 + 10.5) == []


def test_it_beats_three_times_a_lease_when_the_worker_is_late_and_no_longer_than_allowed() -> None:
    assert beats(heard((0.0, BEAT)), 0.0, 1000.0) == [15.0, 25.0, 35.0, 45.0, 55.0, 65.0, 75.0, 85.0]


def test_the_first_beat_comes_before_the_lease_is_over() -> None:
    assert beats(heard((0.0, BEAT)), 0.0, LEASE)[0] < LEASE


def test_attempts_that_begin_after_the_beat_count() -> None:
    watch = heard((0.0, BEAT), (5.0, {"allow": 300.0}))
    assert beats(watch, 5.0, 1000.0)[-1] == 305.0


def test_an_attempt_of_a_short_time_takes_nothing_away_from_the_others() -> None:
    assert beats(heard((0.0, BEAT), (5.0, {"allow": 1.0})), 5.0, 1000.0)[-1] == 85.0


def test_the_next_beat_forgets_what_has_ended() -> None:
    watch = heard((0.0, BEAT), (5.0, {"allow": 300.0}), (10.0, {"beat": "worker", "allow": 30.0}))
    assert beats(watch, 10.0, 1000.0) == [25.0, 35.0]


def test_a_refused_worker_gets_no_more_beats_until_it_has_another_id() -> None:
    watch = heard((0.0, BEAT))
    watch.was_refused("worker")
    assert beats(watch, 0.0, 1000.0) == []
    watch.hear({"beat": "another", "allow": 90.0}, 100.0)
    assert watch.beat_for(120.0) == "another"


def test_it_stops_as_soon_as_the_worker_speaks_again() -> None:
    watch = heard((0.0, BEAT))
    assert watch.is_silent(20.0)
    assert watch.beat_for(20.0) == "worker"
    watch.hear(BEAT, 21.0)
    assert not watch.is_silent(21.0)
    assert watch.beat_for(21.0) is None


@pytest.mark.parametrize("cut", [1, 7, 20])
def test_words_are_read_whole_however_they_arrive(cut: int) -> None:
    reading, writing = os.pipe()
    words = Words(reading)
    data = b"".join(json.dumps(word).encode() + b"\n" for word in (BEAT, {"allow": 1.0}))
    try:
        os.write(writing, data[:cut])
        first = words.read(1.0)
        os.write(writing, data[cut:])
        assert [*first, *words.read(1.0)] == [BEAT, {"allow": 1.0}]
        assert words.read(0.0) == []
        assert not words.ended
        os.close(writing)
        assert words.read(1.0) == []
        assert words.ended
    finally:
        os.close(reading)


def test_a_stopped_process_is_told_from_one_that_runs() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert not is_stopped(process.pid)
        os.kill(process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        assert is_stopped(process.pid)
        process.kill()
    assert not is_stopped(process.pid)
