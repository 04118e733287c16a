"""What type checkers say about the files `pgflow client` writes, and about programs that use them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from flowdsl.references.file import reference_file
from tests.property.reference_zoo import ZOO
from tests.property.test_references import description, flow_of
from tests.typing.checkers import CHECKERS

PROGRAM = """
from datetime import date
from decimal import Decimal
from typing import Any

from typing_extensions import assert_type

import discriminated_module as pets
import keys_module as keys
import moments_module as moments
import nested_module as nested
import optional_list_module as lists
from flowdsl import FlowRef, StepRef, maybe
from flowdsl.client import Client


class Steps:
    # By hand, of types that are classes and of types that are none.

    moods = StepRef("zoo", "moods", list[nested.Person])
    mood = StepRef[nested.Person | None]("zoo", "mood", nested.Person | None)


by_hand = FlowRef("zoo", nested.Person, int, fingerprint="0123456789abcdef")
assert_type(by_hand, FlowRef[nested.Person, int])
of_unions = FlowRef[list[str] | None, date | None]("zoo", list[str] | None, date | None)


async def use_by_hand(client: Client) -> None:
    run = await client.start(by_hand, nested.Person(name="x", home=nested.Address(street="y")))
    assert_type(await run.result(), int)
    assert_type(await run.output(Steps.moods), list[nested.Person])
    assert_type(await run.output(Steps.mood), nested.Person | None)
    await run.retry(from_step=Steps.mood)
    await client.list_runs(by_hand)
    assert_type(await (await client.start(of_unions, None)).result(), date | None)
    untyped = await client.flow_ref("zoo")
    await client.start(untyped, {"any": "thing"})

    await client.start(by_hand, 1)  # E not the input
    await client.start(of_unions, [1])  # E not the input
    await client.start(run, 1)  # E a run is no flow
    wrong: list[int] = await run.output(Steps.moods)  # E not its output
    print(wrong)


async def use(client: Client) -> None:
    home = nested.Address(street="x", zip_code="1")
    person = nested.Person(name="Ada", home=home, partner=None)
    run = await client.start(nested.zoo, person)
    result = await run.result()
    assert_type(result.home.street, str)
    assert_type(result.home.zip_code, str)
    assert_type((await run.output(nested.Steps.handler)).name, str)
    perhaps = await run.output(maybe(nested.Steps.handler))
    assert_type(perhaps.name if perhaps else None, str | None)
    some = await client.start_many(lists.zoo, [["a"], None])
    assert_type(await some[0].result(), list[str] | None)
    moment = await client.run(moments.zoo, "run").result()
    assert_type(moment.price, Decimal)
    assert_type(moment.on, date)
    await client.start(pets.zoo, pets.Owner(pet=pets.Dog(kind="dog", tricks=["sit"])))
    await client.start(pets.zoo, pets.Owner(pet=pets.Dog()))
    key: dict[str, Any] = {}
    await client.start(keys.zoo, keys.Awkward(**key))

    await client.start(nested.zoo, home)  # E not the input
    await client.start(nested.zoo, {"name": "Ada"})  # E a dict
    nested.Address(zip_code="1")  # E no street
    nested.Address(street="x", zip_code=None)  # E left out is not None
    nested.Person(name=1, home=home)  # E not a name
    pets.Dog(kind="cat")  # E another tag
    number: int = await run.output(nested.Steps.handler)  # E not its output
    print(number)
    await client.start(lists.zoo, [1])  # E not a list of str
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a file for each kind of types on both roads, and a program that uses some."""
    made = tmp_path_factory.mktemp("references")
    for kind, (declared, _) in ZOO.items():
        for road in ("module", "database"):
            text = reference_file(description(flow_of(declared), road), ["pgflow", "client", "zoo"])
            (made / f"{kind.replace(' ', '_')}_{road}.py").write_text(text, encoding="utf-8")
    (made / "program.py").write_text(PROGRAM.lstrip(), encoding="utf-8")
    return made


@pytest.mark.skipif(shutil.which("ruff") is None, reason="ruff is not installed")
def test_written_references_are_formatted_as_a_formatter_would(directory: Path, tmp_path: Path) -> None:
    for file in directory.glob("*_*.py"):
        text = file.read_text(encoding="utf-8")
        assert "\n# fmt: off\n" in text
        (tmp_path / file.name).write_text(text.replace("\n# fmt: off\n", "\n"), encoding="utf-8")
    done = subprocess.run(
        ["ruff", "format", "--isolated", "--diff", "."], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("checker", CHECKERS)
def test_written_references_are_correct_and_find_the_mistakes_of_those_who_use_them(
    checker: str, directory: Path
) -> None:
    lines = (directory / "program.py").read_text(encoding="utf-8").splitlines()
    planted = {("program.py", number) for number, line in enumerate(lines, 1) if "  # E " in line}
    assert len(planted) == 12
    assert CHECKERS[checker](directory) == planted
