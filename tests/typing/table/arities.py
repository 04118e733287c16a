"""Each number of dependencies, for `step`, `array` and `map`: the last value of another type, and one value too few."""

from tests.typing.entry import Entry, Says

LETTERS = "abcdefghjk"


def _handler(name: str, types: str, result: str, keyword: str) -> str:
    parameters = ", ".join(f"{letter}: {kind}" for letter, kind in zip(LETTERS, types.split(), strict=False))
    value = "[a]" if result.startswith("list") else "a"
    return f"{keyword} {name}({parameters}) -> {result}:\n    return {value}\n"


def _steps(method: str, count: int) -> Entry:
    """Sums of ints: `text` in the place of the last one is wrong. Every other handler is async, or takes a Context."""
    result = "list[int]" if method == "array" else "int"
    refs = [f"n{number}" for number in range(1, count + 1)]
    handler = _handler("add", "int " * count, result, "async def" if count % 2 else "def")
    if count == 0:
        handler = _handler("add", "int", result, "def")
        wrong, right = f"many.{method}(add)", f'Flow("number", int).{method}(add)'
        flow, words = "int", "parameter 'a' takes int, but the run's input is Site."
    else:
        wrong = f"many.{method}(add, {', '.join([*refs[:-1], 'text'])})"
        right = f"many.{method}(add, {', '.join(refs)})"
        flow, words = "Site", f"parameter '{LETTERS[count - 1]}' takes int, but 'text' is str."
    return Entry(
        name=f"{method} of {count} dependencies, the last of another type",
        wrong=handler + wrong,
        right=handler + f"assert_type({right}.returns(add), Flow[{flow}, {result}])",
        says=Says("PF-E105", words),
    )


def _maps(count: int) -> Entry:
    keyword = "def" if count % 2 else "async def"
    if count == 0:
        return Entry(
            name="map of 0 dependencies, over elements of another type",
            wrong="texts.map(each_page)",
            right="assert_type(texts.map(each_word).returns(collect(each_word)), Flow[list[str], list[str]])",
            says=Says("PF-E105", "parameter 'page' takes Page, but an element of the run's input is str."),
        )
    refs = ["pages_of_many", *(f"n{number}" for number in range(1, count))]
    handler = _handler("each", "Site" + " int" * (count - 1), "Site", keyword)
    over = "def pages_of_many(site: Site) -> list[Site]:\n    return [site]\n"
    if count == 1:
        wrong, words = "pages_of_many)", "parameter 'a' takes Page, but an element of 'pages_of_many' is Site."
        wrong_handler = _handler("each", "Page", "Page", keyword)
    else:
        wrong = f"{', '.join([*refs[:-1], 'text'])})"
        words, wrong_handler = f"parameter '{LETTERS[count - 1]}' takes int, but 'text' is str.", handler
    return Entry(
        name=f"map of {count} dependencies, the last of another type",
        wrong=over + wrong_handler + f"many.array(pages_of_many).map(each, {wrong}",
        right=over
        + handler
        + f"assert_type(many.array(pages_of_many).map(each, {', '.join(refs)}).returns(collect(each)), Flow[Site, list[Site]])",
        says=Says("PF-E105", words),
    )


def _too_few(count: int) -> Entry:
    refs = ", ".join(f"n{number}" for number in range(1, count + 1))
    handler = _handler("add", "int " * count, "int", "def")
    return Entry(
        name=f"step of {count} dependencies, one left out",
        wrong=handler + f"many.step(add, {refs.rpartition(', ')[0]})",
        right=handler.replace(") ->", ", ctx: Context) ->") + f"many.step(add, {refs}, timeout=30)",
        says=Says("PF-E106", f"its handler takes {count} parameters"),
    )


ARITIES = (
    *(_steps("step", count) for count in range(11)),
    *(_steps("array", count) for count in range(11)),
    *(_maps(count) for count in range(11)),
    *(_too_few(count) for count in range(2, 11)),
)
