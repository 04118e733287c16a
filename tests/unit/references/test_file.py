"""The file with a reference: what it looks like, and what becomes of what Python cannot say."""

import ast
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import datamodel_code_generator
import pytest
from pydantic import BaseModel, Field

from flowdsl import Flow, collect, maybe
from flowdsl.errors import ConfigError
from flowdsl.references.declarations import refuse_code
from flowdsl.references.description import described_by_database, described_by_flow
from flowdsl.references.file import is_written_by_us, reference_file
from flowdsl.references.naming import class_name, constant_name, field_names, unused

COMMAND = ["pgflow", "client", "shop:analyze", "-o", "my file.py"]


class Site(BaseModel):
    """A site."""

    url: str
    depth: int = 2


class Mood(BaseModel):
    score: float


class Colour(Enum):
    RED = "red"


def pages(site: Site) -> list[str]:
    return [site.url]


def sentiment(page: str) -> Mood:
    return Mood(score=len(page))


def worst(moods: list[Mood]) -> Mood:
    return moods[0]


def site_again(site: Site) -> Site:
    return site


analyze = Flow("analyze", Site).array(pages).map(sentiment, pages).step(worst, collect(sentiment)).returns(worst)

EXPECTED = '''\
class Mood(ReferenceModel):
    score: float


class Site(ReferenceModel):
    url: str
    depth: int = LEFT_OUT


class Steps:
    """The steps of the flow: `await run.output(Steps.pages)` returns the output of that one."""

    pages = StepRef[list[str]]("analyze", "pages", list[str])
    sentiment = StepRef[list[Mood]]("analyze", "sentiment", list[Mood])
    worst = StepRef[Mood]("analyze", "worst", Mood)


analyze = FlowRef[Site, Mood](
    "analyze",
    Site,
    Mood,
    fingerprint="FINGERPRINT",
    made_with="pgflow client shop:analyze -o 'my file.py'",
)
'''


def written(flow: Any) -> str:
    return reference_file(described_by_flow(flow), COMMAND)


def module_of(text: str) -> Any:
    module = ModuleType("written_by_a_unit_test")
    sys.modules[module.__name__] = module
    exec(compile(text, module.__name__, "exec"), vars(module))  # noqa: S102 - it is our own
    return module


def test_the_file_has_the_models_the_steps_and_the_flow() -> None:
    text = written(analyze)
    assert text.endswith(EXPECTED.replace("FINGERPRINT", analyze.fingerprint))


def test_the_file_says_what_it_is_and_how_it_is_written_anew() -> None:
    docstring = ast.get_docstring(ast.parse(written(analyze)))
    assert docstring is not None
    assert docstring.splitlines() == [
        f"Flow 'analyze' (fingerprint {analyze.fingerprint}), for those who start it without its handlers.",
        "",
        "Written by `pgflow client`, not to be edited. To write it anew:",
        "    pgflow client shop:analyze -o 'my file.py'",
    ]


def test_the_file_imports_nothing_but_pydantic_flowdsl_and_python() -> None:
    tree = ast.parse(written(analyze))
    modules = {str(node.module).partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert modules - sys.stdlib_module_names <= {"flowdsl", "pydantic", "typing_extensions"}


def test_the_bytes_do_not_depend_on_the_order_of_hashes() -> None:
    flow = Path(__file__).parents[3] / "examples" / "reference" / "worker" / "price_order.py"
    script = "import sys; from flowdsl.cli.app import app; app(['client', sys.argv[1]])"
    written_by = {
        subprocess.run(
            [sys.executable, "-c", script, str(flow)],
            env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(written_by) == 1
    assert "price_order = FlowRef[Order, Offer](" in written_by.pop()


def test_the_file_is_known_as_ours(tmp_path: Any) -> None:
    (tmp_path / "a.py").write_text(written(analyze))
    (tmp_path / "b.py").write_text("# not ours\n")
    assert is_written_by_us(tmp_path / "a.py")
    assert not is_written_by_us(tmp_path / "b.py")


def test_a_type_that_is_sent_and_got_is_one_class() -> None:
    text = written(Flow("echo", Site).step(site_again).returns(site_again))
    assert text.count("class Site") == 1
    assert "FlowRef[Site, Site](" in text


def test_two_types_of_one_name_are_two_classes() -> None:
    def other() -> Any:
        class Site(BaseModel):
            number: int

        return Site

    def change(site: Site) -> Any:
        return site

    change.__annotations__["return"] = other()
    text = written(Flow("change", Site).step(change).returns(change))
    assert "class Site(ReferenceModel):\n    url: str" in text
    assert "class SiteOutput(ReferenceModel):\n    number: int" in text
    assert "FlowRef[Site, SiteOutput](" in text


def test_without_returns_the_output_is_a_typed_dict_of_the_leaves() -> None:
    text = written(Flow("leaves", Site).step(site_again).array(pages).map(sentiment, pages))
    assert "class Outputs(TypedDict, total=False):" in text
    assert "    site_again: Site\n    sentiment: list[Mood]\n" in text
    assert "pages:" not in text.partition("class Outputs")[2].partition("class Steps")[0]
    ref = module_of(text).leaves
    assert ref.returns_leaves


def test_an_output_that_may_be_skipped_may_be_none() -> None:
    flow = Flow("perhaps", Site).step(site_again, when={"depth": 3}).returns(maybe(site_again))
    assert "FlowRef[Site, Site | None](" in written(flow)


def test_slugs_that_are_words_of_python_get_names_that_are_not() -> None:
    flow = (
        Flow("class_", Site)
        .step(site_again, slug="class")
        .array(pages, slug="__init")
        .map(sentiment, pages, slug="Mood")
    )
    module = module_of(written(flow))
    assert module.Steps.class_.slug == "class"
    assert module.Steps.step__init.slug == "__init"
    assert module.Steps.Mood_.slug == "Mood"
    assert module.Outputs.__annotations__.keys() == {"class", "Mood"}


def test_a_slug_that_is_a_word_of_python_names_the_reference_with_an_underscore() -> None:
    assert "\nclass_ = FlowRef[Site, Site](" in written(Flow("class", Site).step(site_again).returns(site_again))


def test_a_flow_named_like_its_input_keeps_its_name() -> None:
    text = written(Flow("Site", Site).step(site_again).returns(site_again))
    assert "class Site2(ReferenceModel)" in text
    assert "\nSite = FlowRef[Site2, Site2](" in text


def test_what_python_cannot_say_is_left_to_the_flow() -> None:
    class Loose(BaseModel):
        looking: str = Field(pattern="^(?=a)")
        price: Decimal = Field(ge=0)
        by_number: dict[int, str]
        unique: set[int]

        model_config = {"regex_engine": "python-re"}

    def loose(site: Site) -> Loose:
        raise NotImplementedError

    text = written(Flow("loose", Site).step(loose).returns(loose))
    assert "    looking: str\n    price: Decimal\n    by_number: dict[str, str]\n    unique: list[int]\n" in text


def test_the_members_of_an_enum_are_literals() -> None:
    def colour(site: Site) -> Colour:
        return Colour.RED

    assert 'FlowRef[Site, Literal["red"]](' in written(Flow("paint", Site).step(colour).returns(colour))


def test_a_long_type_stands_on_one_line() -> None:
    def numbers(
        site: Site,
    ) -> dict[str, list[Annotated[str, Field(min_length=3, max_length=12345)] | Site | Mood | None]]:
        return {}

    text = written(Flow("long", Site).step(numbers).returns(numbers))
    assert "    dict[str, list[Numbers | Site | Mood | None]],\n" in text
    assert text.count("TypeAliasType(") == 1


def test_a_command_cannot_end_the_docstring() -> None:
    text = reference_file(described_by_flow(analyze), ["pgflow", "client", 'x"""\\y'])
    assert '"""' in str(ast.get_docstring(ast.parse(text)))
    assert module_of(text).analyze.when_outdated.endswith('\'x"""\\y\'')


def test_without_the_generator_the_line_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datamodel_code_generator", None)
    with pytest.raises(ConfigError, match=r"pip install 'flowdsl\[client\]'"):
        written(analyze)


def test_what_an_earlier_flowdsl_compiled_has_no_schemas() -> None:
    found = {"slug": "old", "version": 1, "fingerprint": None, "inputSchema": None, "outputStep": None, "steps": []}
    with pytest.raises(ConfigError, match="an earlier flowdsl compiled it"):
        described_by_database(found)


# ---- what a database may hold ---------------------------------------------------------------------------------------

HOSTILE = [
    '"""\nimport sys; sys.PWNED=1\nx="""',
    "\"\"\"\nimport sys; sys.PWNED=1\nx=dict(a='''",
    "']; __import__('sys').PWNED=1; ['",
    '"]; __import__("sys").PWNED=1; ["',
    "a=__import__('sys').__setattr__('PWNED',1);b",
    "__import__('sys').__setattr__('PWNED', 1)",
    "x\rimport sys; sys.PWNED=1\r",
    "x\nimport sys; sys.PWNED=1\n",
    "\\",
    '\\\\"\\\'"""',
    "{{ 7 * 7 }}{% for x in y %}",
    "\u2028\x00\x1b[31m",
    "A#b/c~1d.e",
    "$ref",
    "Roots",
    "None",
    "",
]


def stored(schema: Any, **changes: Any) -> dict[str, Any]:
    step = {"slug": "only", "dependencies": [], "outputSchema": schema}
    return {
        "slug": "shop", "version": 1, "fingerprint": "f" * 16, "inputSchema": schema, "outputSchema": True,
        "outputStep": "only", "steps": [step], **changes,
    }  # fmt: skip


def step_of(slug: str, *dependencies: str) -> dict[str, Any]:
    return {"slug": slug, "dependencies": list(dependencies), "outputSchema": True}


def hostile_schemas(text: str) -> list[Any]:
    string = {"type": "string", "pattern": text}
    model = {"type": "object", "properties": {"a": {"type": "array", "items": string}}}
    return [
        {"type": "object", "properties": {text: {"type": "integer"}}},
        {"type": "object", "properties": {text: {"enum": [text]}, "b": {"const": text}}, "required": [text]},
        {**model, "title": text, "description": text, "default": {text: text}, "examples": [text], f"x{text}": text},
        {"enum": [text]},
        {"enum": [text, "b", 1]},
        {"enum": [{text: text}, [text]]},
        {"type": "string", "format": text},
        {"anyOf": [string, {"type": "array", "items": string}, {"type": "null"}]},
        {"type": "object", "patternProperties": {text: model}},
        {"$defs": {text: model}, "$ref": f"#/$defs/{text}"},
        {"$defs": {text: {"type": "array", "items": {"$ref": f"#/$defs/{text}"}}}, "$ref": f"#/$defs/{text}"},
    ]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_in_a_schema_becomes_code(text: str, tmp_path: Path) -> None:
    schemas = hostile_schemas(text)
    names = [f"step_{number}" for number in range(len(schemas))]
    steps = [{**step_of(name), "outputSchema": schema} for name, schema in zip(names, schemas, strict=True)]
    whole = {"type": "object", "properties": dict(zip(names, schemas[:9], strict=False))}
    written = reference_file(described_by_database(stored(whole, steps=steps, outputStep=names[0])), COMMAND)
    (tmp_path / "client.py").write_text(written, encoding="utf-8")
    script = "import client, sys; client.shop.input_adapter; assert not hasattr(sys, 'PWNED'); print(client.shop.slug)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "shop\n", "")
    statements = ast.parse(written).body
    assert {type(part) for part in statements} <= {ast.Expr, ast.ImportFrom, ast.ClassDef, ast.Assign}
    assert [part.targets[0].id for part in statements[-1:] if isinstance(part, ast.Assign)] == ["shop"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", [text for text in HOSTILE if text not in ("Roots", "None")])
@pytest.mark.parametrize("where", ["slug", "step", "dependency", "fingerprint"])
def test_names_that_flowdsl_never_gave_are_refused(text: str, where: str) -> None:
    changes: dict[str, dict[str, Any]] = {
        "slug": {"slug": text},
        "step": {"steps": [step_of(text)]},
        "dependency": {"steps": [step_of("only"), step_of("last", text)]},
        "fingerprint": {"fingerprint": text},
    }
    with pytest.raises(ConfigError, match=r"can name no flow and no step|is no fingerprint of a flow") as caught:
        described_by_database(stored(True, **changes[where]))
    assert repr(text) in caught.value.message


@pytest.mark.parametrize("text", HOSTILE)
def test_what_gets_into_the_docstring_stays_there(text: str) -> None:
    described = replace(described_by_database(stored(True)), fingerprint=text)
    tree = ast.parse(reference_file(described, ["pgflow", "client", text]))
    docstring = ast.get_docstring(tree, clean=False)
    assert docstring is not None
    assert f"fingerprint {text})" in docstring
    assert isinstance(tree.body[1], ast.ImportFrom)
    (call,) = (part.value for part in tree.body if isinstance(part, ast.Assign))
    assert isinstance(call, ast.Call)
    said = {part.arg: ast.literal_eval(part.value) for part in call.keywords}
    assert said == {"fingerprint": text, "made_with": shlex.join(["pgflow", "client", text])}


def test_a_flow_without_a_fingerprint_gets_a_reference_without_one() -> None:
    text = reference_file(described_by_database(stored(True, fingerprint=None)), COMMAND)
    assert text.startswith('"""Flow \'shop\' (version 1), for those who start it')
    assert module_of(text).shop.fingerprint is None


@pytest.mark.parametrize(
    "code",
    [
        "import os",
        "from os import path",
        "from . import x",
        "x = __import__('os')",
        "x = FlowRef(lambda: 1)",
        "x = [y for y in z]",
        "x = a.b",
        "x = f'{y}'",
        "x = (y := 1)",
        "x.model_rebuild(print)",
        "@print\nclass A: pass",
        "class A(print()): pass",
        "def f(): pass",
        "for x in y: pass",
        "x + y",
        "x: list['print()']",
        "x: int | 'print()'",
        "x: 'print()'",
        "x = TypeAliasType('A', 'print()')",
        "x = TypeAliasType('A', list['a b'])",
        "x = 'a",
        "x = '\0",
    ],
)
def test_a_file_that_does_more_than_declare_is_refused(code: str) -> None:
    with pytest.raises(ConfigError, match="flow 'shop': nothing is written, for the file would"):
        refuse_code(f'"""Text."""\n{code}\n', "flow 'shop'")


def test_a_file_that_declares_is_not_refused() -> None:
    refuse_code(
        'class A(B):\n    x: Literal["print()"] | list["A"] = -1\n    model_config = ConfigDict(extra="allow")\n'
        'Json = TypeAliasType("Json", "list[Json]")\nA.model_rebuild()\n',
        "flow 'shop'",
    )


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": []}, {"enum": 5}, {"required": 7}, {"anyOf": 5}, {"minimum": "1"}, {"minimum": 10**400}, 5, [],
        {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}}, {"$ref": "http://example.org/x"},
        {"minLength": 1e30}, {"title": 5}, {"format": []}, {"type": {"a": 1}},
    ],
)  # fmt: skip
def test_an_odd_schema_is_refused_with_the_flow_and_the_step(schema: Any) -> None:
    with pytest.raises(ConfigError, match=r"^flow 'shop': the JSON Schema of its input cannot be used: "):
        reference_file(described_by_database(stored(schema)), COMMAND)
    steps = [step_of("a"), {**step_of("b"), "outputSchema": schema}]
    with pytest.raises(ConfigError, match=r"^flow 'shop', step 'b': the JSON Schema of its output cannot be used: "):
        reference_file(described_by_database(stored(True, steps=steps)), COMMAND)


def _chain(length: int, last: Any) -> Any:
    links = {f"T{number}": {"type": "array", "items": {"$ref": f"#/$defs/T{number + 1}"}} for number in range(length)}
    return {"$defs": {**links, f"T{length}": last}, "$ref": "#/$defs/T0"}


def _doubled(times: int) -> Any:
    pairs = {
        f"T{number}": {"type": "array", "prefixItems": [{"$ref": f"#/$defs/T{number + 1}"}] * 2, "minItems": 2, "maxItems": 2}
        for number in range(times)
    }  # fmt: skip
    return {"$defs": {**pairs, f"T{times}": {"type": "null"}}, "$ref": "#/$defs/T0"}


@pytest.mark.parametrize(
    ("schema", "why"), [(_chain(2_000, True), "nested too deeply"), (_doubled(30), "100,000 parts")]
)
def test_a_schema_that_is_too_large_to_be_written_out_is_refused(schema: Any, why: str) -> None:
    with pytest.raises(ConfigError, match=f"^flow 'shop': no models can be .* of its input: .*{why}"):
        reference_file(described_by_database(stored(schema)), COMMAND)
    steps = [step_of("a"), {**step_of("b"), "outputSchema": schema}]
    with pytest.raises(ConfigError, match=f"^flow 'shop': no models can be .* of step 'b': .*{why}"):
        reference_file(described_by_database(stored(True, steps=steps)), COMMAND)


def test_what_the_generator_fails_at_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(text: str, **options: Any) -> str:
        if "unheard_of" in text:
            raise KeyError("what is this?")
        return str(generate(text, **options))

    generate = datamodel_code_generator.generate
    monkeypatch.setattr(datamodel_code_generator, "generate", failing)
    odd = {"type": "object", "properties": {"x": {"type": "object", "properties": {"unheard_of": True}}}}
    steps = [step_of("a"), {**step_of("b"), "outputSchema": odd}, step_of("c")]
    with pytest.raises(ConfigError, match=r"^flow 'shop': .* of step 'b': KeyError: 'what is this\?'\.") as caught:
        reference_file(described_by_database(stored(True, steps=steps)), COMMAND)
    assert "by hand" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("hint", "name"),
    [
        ("site", "Site"),
        ("Page[int]", "PageInt"),
        ("my_site", "MySite"),
        ("3d", "Model3d"),
        ("", "Model"),
        ("größe", "Größe"),
        ("None", "ModelNone"),
    ],
)
def test_a_hint_becomes_the_name_of_a_class(hint: str, name: str) -> None:
    assert class_name(hint) == name


def test_a_name_that_is_taken_is_numbered() -> None:
    assert unused("Site", ()) == "Site"
    assert unused("Site", {"Site", "Site2"}) == "Site3"


def test_keys_become_fields_of_their_own_name_where_that_can_be() -> None:
    keys = ["name", "class", "zip code", "zip-code", "zip_code", "_x", "", "copy", "Site", "9"]
    assert field_names(keys, {"Site"}) == {
        "name": "name",
        "class": "class_",
        "zip code": "zip_code_",
        "zip-code": "zip_code__",
        "zip_code": "zip_code",
        "_x": "x",
        "": "field",
        "copy": "copy_",
        "Site": "Site_",
        "9": "field_9",
    }


def test_slugs_become_constants() -> None:
    assert constant_name("save", ()) == "save"
    assert constant_name("list", ()) == "list_"
    assert constant_name("Mood", {"Mood", "Mood_"}) == "Mood__"
