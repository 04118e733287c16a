"""The Alembic tree is found, read in order, and told where the next file goes; whatever is wrong with it is said."""

from pathlib import Path

import pytest

from flowdsl.compiler.revision import find_config, open_tree, revision_id, write_revision
from flowdsl.errors import CompileError, ConfigError

from .alembic_trees import environment, revision


def test_a_project_without_alembic_is_told_to_run_init(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no Alembic environment\nSet one up with: pgflow init"):
        open_tree(tmp_path)


def test_files_come_in_dependency_order_whatever_their_names(tmp_path: Path) -> None:
    versions = environment(tmp_path)
    revision(versions, "a", "b")
    revision(versions, "b", "c")
    revision(versions, "c", None)
    assert [file.revision for file in open_tree(tmp_path).files] == ["c", "b", "a"]


def test_an_empty_tree_has_no_head(tmp_path: Path) -> None:
    environment(tmp_path)
    tree = open_tree(tmp_path)
    assert (tree.files, tree.head(), tree.below(None)) == ((), None, ())


def test_several_heads_ask_for_a_merge_or_a_choice(tmp_path: Path) -> None:
    versions = environment(tmp_path)
    revision(versions, "base1")
    revision(versions, "left1", "base1")
    revision(versions, "right1", "base1", labels="starboard")
    tree = open_tree(tmp_path)
    with pytest.raises(
        CompileError, match=r"2 heads: left1 \(left1_x.py\), right1 .*\n.*alembic merge.*--head REVISION"
    ):
        tree.head()
    assert tree.head("left1") == "left1"
    assert tree.head("righ") == "right1"
    assert tree.head("starboard") == "right1"
    assert tree.head("starboard@head") == "right1"
    assert [file.revision for file in tree.below("left1")] == ["base1", "left1"]


@pytest.mark.parametrize("wanted", ["base1", "lefx1", "nothing", "nolabel@head"])
def test_a_chosen_head_must_be_one(tmp_path: Path, wanted: str) -> None:
    versions = environment(tmp_path)
    revision(versions, "base1")
    revision(versions, "left1", "base1")
    with pytest.raises(CompileError, match=f"--head {wanted}[^\n]*\n.*The heads are: left1"):
        open_tree(tmp_path).head(wanted)


def test_a_merge_and_a_dependency_both_count_as_before(tmp_path: Path) -> None:
    versions = environment(tmp_path)
    revision(versions, "a")
    revision(versions, "b", "a")
    revision(versions, "c", "a")
    revision(versions, "d", ("b", "c"))
    revision(versions, "other", labels="side")
    revision(versions, "e", "d", depends="side")
    tree = open_tree(tmp_path)
    assert [file.revision for file in tree.below("e")] == ["a", "other", "b", "c", "d", "e"]
    assert tree.head("e") == "e"


def test_file_template_and_slug_length_are_the_environments(tmp_path: Path) -> None:
    versions = environment(tmp_path, "file_template = %%(slug)s__%%(rev)s\ntruncate_slug_length = 12")
    path = open_tree(tmp_path).place("abc", "pgflow: hello v1, more", None)
    assert path == versions / "pgflow___abc.py"


def test_a_date_in_the_file_template_may_make_subfolders(tmp_path: Path) -> None:
    versions = environment(
        tmp_path, "file_template = %%(year)d/%%(rev)s\nrecursive_version_locations = true\ntimezone = UTC"
    )
    path = open_tree(tmp_path).place("abc", "x", None)
    write_revision(path, "revision = 'abc'\ndown_revision = None\n")
    assert path.parent.parent == versions
    assert [file.path for file in open_tree(tmp_path).files] == [path]


def test_with_several_version_locations_a_file_follows_its_parent(tmp_path: Path) -> None:
    environment(tmp_path, "version_locations = %(here)s/one:%(here)s/two")
    revision(tmp_path / "one", "first")
    revision(tmp_path / "two", "second")
    tree = open_tree(tmp_path)
    assert tree.place("abc", "x", "second").parent == tmp_path / "two"
    assert tree.place("abc", "x", "first").parent == tmp_path / "one"
    assert tree.place("abc", "x", None).parent == tmp_path / "one"


def test_settings_may_live_in_pyproject(tmp_path: Path) -> None:
    versions = environment(tmp_path, folder="db", config="unused.cfg")
    (tmp_path / "pyproject.toml").write_text('[tool.alembic]\nscript_location = "%(here)s/db"\n')
    revision(versions, "a")
    tree = open_tree(tmp_path)
    assert (tree.config.ini, tree.config.toml) == (None, tmp_path / "pyproject.toml")
    assert tree.head() == "a"


def test_the_configuration_may_be_named_or_lie_in_a_subfolder(tmp_path: Path) -> None:
    versions = environment(tmp_path, folder="backend/db", config="backend/alembic.ini")
    revision(versions, "a")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "alembic.ini").write_text("[alembic]\n")
    assert open_tree(tmp_path).head() == "a"
    assert open_tree(tmp_path, "backend/alembic.ini").head() == "a"
    with pytest.raises(ConfigError, match=r"no Alembic configuration .*other\.ini"):
        open_tree(tmp_path, "other.ini")


def test_a_script_location_beside_a_nested_configuration_is_found(tmp_path: Path) -> None:
    versions = environment(tmp_path / "backend", folder="db")
    revision(versions, "a")
    assert open_tree(tmp_path).head() == "a"


def test_several_environments_ask_for_a_choice(tmp_path: Path) -> None:
    environment(tmp_path / "a")
    environment(tmp_path / "b")
    with pytest.raises(
        ConfigError, match=r"several Alembic environments: a/alembic.ini, b/alembic.ini\n.*alembic-config"
    ):
        find_config(tmp_path)


def test_the_working_directory_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = environment(tmp_path / "project")
    revision(versions, "a")
    monkeypatch.chdir(tmp_path)
    tree = open_tree(tmp_path / "project")
    assert tree.place("b", "x", "a").parent == versions
    assert Path.cwd() == tmp_path


def test_a_file_that_does_not_load_is_named_with_its_line(tmp_path: Path) -> None:
    versions = environment(tmp_path)
    path = revision(versions, "a", extra="import no_such_module_anywhere")
    with pytest.raises(CompileError, match=f"No module named 'no_such_module_anywhere' \\({path}:7\\)"):
        open_tree(tmp_path)
    path.write_text("revision = 'a'\ndown_revision = (\n")
    with pytest.raises(CompileError, match=f"SyntaxError.*{path}:2"):
        open_tree(tmp_path)


@pytest.mark.filterwarnings("ignore:Revision .* is not present")  # Alembic warns before it fails
def test_a_missing_file_in_the_chain_is_named(tmp_path: Path) -> None:
    revision(environment(tmp_path), "b", "gone")
    with pytest.raises(CompileError, match="'gone'"):
        open_tree(tmp_path)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [("[alembic]\n", "script_location"), ("[alembic]\nscript_location = nowhere\n", "nowhere"), ("x", "alembic.ini")],
)
def test_a_configuration_alembic_cannot_use_is_named(tmp_path: Path, settings: str, expected: str) -> None:
    (tmp_path / "alembic.ini").write_text(settings)
    with pytest.raises(ConfigError, match=expected):
        open_tree(tmp_path)


def test_an_existing_revision_or_file_is_never_overwritten(tmp_path: Path) -> None:
    versions = environment(tmp_path, "file_template = %%(slug)s")
    revision(versions, "a")
    tree = open_tree(tmp_path)
    with pytest.raises(CompileError, match="revision a exists already"):
        tree.place("a", "x", None)
    (versions / "taken.py.txt").write_text("mine")
    (versions / "taken.py").write_text("mine")
    with pytest.raises(CompileError, match=r"taken\.py exists already"):
        tree.place("b", "taken", "a")
    with pytest.raises(CompileError, match=r"cannot write .*taken\.py: File exists"):
        write_revision(versions / "taken.py", "theirs")
    assert (versions / "taken.py").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(CompileError, match="cannot write"):
        write_revision(tmp_path / "file" / "x.py", "")


def test_revision_ids_follow_from_contents_and_parent() -> None:
    assert revision_id("p", ["a", "b"]) == revision_id("p", ["a", "b"])
    assert len({revision_id("p", ["a", "b"]), revision_id("p", ["ab"]), revision_id(None, ["a", "b"])}) == 3
    assert len(revision_id(None, ["ž"])) == 12


def test_a_section_of_the_configuration_is_an_environment_of_its_own(tmp_path: Path) -> None:
    versions = environment(tmp_path, "[billing]\nscript_location = two", folder="one")
    other = tmp_path / "two" / "versions"
    revision(versions, "a")
    revision(other, "b")
    assert open_tree(tmp_path).heads == ("a",)
    assert open_tree(tmp_path, section="billing").heads == ("b",)
    assert str(open_tree(tmp_path, section="billing").config) == f"{tmp_path / 'alembic.ini'}, section [billing]"
    with pytest.raises(
        ConfigError, match=r"no section \[biling\]\nDid you mean 'billing'\? Its sections are: alembic, "
    ):
        open_tree(tmp_path, section="biling")


def test_a_new_file_goes_to_the_version_location_that_was_asked_for(tmp_path: Path) -> None:
    environment(tmp_path, "version_locations = %(here)s/one:%(here)s/two")
    revision(tmp_path / "one", "first")
    (tmp_path / "two").mkdir()
    tree = open_tree(tmp_path)
    assert tree.place("abc", "x", "first", version_path=tmp_path / "two").parent == tmp_path / "two"
    with pytest.raises(CompileError, match="three is none of the version locations"):
        tree.place("abc", "x", "first", version_path=tmp_path / "three")


def test_labels_are_told_with_the_revision_that_brings_them(tmp_path: Path) -> None:
    versions = environment(tmp_path)
    revision(versions, "a", labels="main")
    revision(versions, "b", "a")
    assert open_tree(tmp_path).labels == {"main": "a"}
