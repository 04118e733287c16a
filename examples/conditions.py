"""Conditions: a step that runs only sometimes, one that may give up, and what goes on without them.

pgflow compile conditions.py && alembic upgrade head
pgflow worker conditions.py &
pgflow start conditions.py --input '{"customer": "Ada", "text": "The cup is broken."}' --wait
pgflow start conditions.py --input '{"customer": "Bob", "text": "A lovely cup."}' --wait
"""

from typing import Literal

from pydantic import BaseModel

from flowdsl import Flow, matches, maybe


class Letter(BaseModel):
    """What a customer wrote."""

    customer: str
    text: str


class Mood(BaseModel):
    """How the letter sounds."""

    label: Literal["happy", "angry"]


def judge(letter: Letter) -> Mood:
    """Read the letter."""
    return Mood(label="angry" if "broken" in letter.text else "happy")


def escalate(letter: Letter, mood: Mood) -> str:
    """Open a ticket; only for angry letters, as the pattern in the flow says."""
    return f"a ticket for your {mood.label} letter"


def discount(letter: Letter) -> int:
    """Ask the shop, which is closed today; after the last attempt the flow goes on without an answer."""
    raise ConnectionError("the shop does not answer")


def feature(letter: Letter, mood: Mood) -> None:
    """Put it on the wall; what the lambda in the flow says is decided by the database."""
    print(f"{letter.customer} likes it: {letter.text}")


def answer(letter: Letter, ticket: str | None, percent: int | None) -> str:
    """Write back, with what there is."""
    return f"Dear {letter.customer}: {ticket or 'thank you'}, {percent or 'no'} discount."


conditions = (
    Flow("conditions", Letter, max_attempts=2, base_delay=0, deadline=3600)
    .step(judge)
    .step(escalate, Letter, judge, when={"judge": {"label": "angry"}})
    .step(discount, when_exhausted="skip")
    .step(answer, Letter, maybe(escalate), maybe(discount))
    .step(feature, Letter, judge, when=lambda letter, mood: (mood.label == "happy") & matches(letter.text, r"\bcup"))
    .returns(answer)
)
