"""References: what a program without the handlers knows of a flow."""

import dataclasses
from typing import Any

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from flowdsl import ConfigError, DefinitionError, Flow, FlowRef, InputError, StepRef, collect, maybe
from flowdsl.model.codec import decode_output, decode_step_output, encode_input


class Site(BaseModel):
    url: str


class Mood(BaseModel):
    score: float


Outputs = TypedDict("Outputs", {"mood": Mood, "class": int}, total=False)

REF: FlowRef[Site, Mood] = FlowRef("analyze", Site, Mood, fingerprint="0123456789abcdef")
MOOD: StepRef[Mood] = StepRef("analyze", "mood", Mood)


def test_a_reference_writes_the_input_as_the_flow_itself_does() -> None:
    def fetch(site: Site) -> Mood:
        return Mood(score=len(site.url))

    flow = Flow("analyze", Site).step(fetch).returns(fetch)
    assert encode_input(REF, Site(url="x")) == encode_input(flow, Site(url="x"))


def test_a_reference_refuses_an_input_of_another_type() -> None:
    wrong: Any = {"url": 1}
    with pytest.raises(InputError, match="flow 'analyze': the input does not fit"):
        encode_input(REF, wrong)


def test_a_reference_reads_the_output_as_its_own_type() -> None:
    assert decode_output(REF, b'{"score": 0.5}') == Mood(score=0.5)
    assert decode_step_output(MOOD, b'{"score": 0.5}') == Mood(score=0.5)


def test_an_output_of_another_type_is_an_input_error_that_names_the_flow() -> None:
    with pytest.raises(InputError, match="flow 'analyze': the output does not fit: score: Field required"):
        decode_output(REF, b"{}")


def test_the_output_of_leaves_that_were_all_skipped_is_empty() -> None:
    leaves: FlowRef[Site, Any] = FlowRef("analyze", Site, Outputs)
    assert decode_output(leaves, b"null") == {}
    assert decode_output(leaves, b'{"class": 3}') == {"class": 3}


def test_no_output_stays_none_where_the_output_may_be_none() -> None:
    skipped = FlowRef[Site, Mood | None]("analyze", Site, Mood | None)
    assert decode_output(skipped, b"null") is None


def test_a_step_is_found_by_its_reference() -> None:
    assert REF.step_read_by(MOOD) is MOOD
    assert REF.step_read_by(maybe(MOOD)) is MOOD
    assert REF.step_for(maybe(MOOD)).slug == "mood"


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (StepRef("other", "mood", Mood), "'mood' is a step of flow 'other'"),
        (collect(MOOD), "stands for its whole output already"),
        (len, "len is no step of a reference"),
    ],
)
def test_what_is_no_step_of_the_flow_is_refused(asked: Any, says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        REF.step_read_by(asked)


def test_a_reference_to_a_step_cannot_be_called() -> None:
    with pytest.raises(TypeError, match="step 'mood' is a reference"):
        MOOD(1)


def test_a_slug_that_cannot_name_a_flow_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="'no-slug' cannot name a flow"):
        FlowRef("no-slug", Site, Mood)


def test_a_type_that_is_no_json_is_told_when_it_is_needed() -> None:
    class Opaque:
        pass

    with pytest.raises(ConfigError, match="the reference to flow 'analyze': its input type Opaque"):
        encode_input(FlowRef("analyze", Opaque, Mood), Opaque())
    with pytest.raises(ConfigError, match="the reference to step 'mood' of flow 'analyze': its output type Opaque"):
        decode_step_output(StepRef("analyze", "mood", Opaque), b"{}")


def test_an_outdated_reference_says_how_to_write_it_anew() -> None:
    made = FlowRef("analyze", Site, Mood, made_with="pgflow client shop:analyze -o analyze.py")
    assert made.when_outdated == "If the flow has changed, run: pgflow client shop:analyze -o analyze.py"
    assert REF.when_outdated == "If the flow has changed, write this reference anew"


def test_references_say_what_they_are() -> None:
    assert repr(REF) == "<FlowRef analyze(Site) -> Mood>"
    assert repr(MOOD) == "<StepRef analyze.mood: Mood>"
    assert (REF.input_type, REF.output_type, MOOD.output_type) == (Site, Mood, Mood)


def test_a_dataclass_will_do() -> None:
    @dataclasses.dataclass
    class Point:
        x: int

    ref = FlowRef("draw", Point, Point)
    assert decode_output(ref, encode_input(ref, Point(x=1))) == Point(x=1)
