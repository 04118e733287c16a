"""Small Alembic environments for tests: a configuration file and revision files with nothing in them."""

from collections.abc import Sequence
from pathlib import Path

EMPTY_REVISION = '''"""{revision}."""

revision = {revision!r}
down_revision = {down!r}
branch_labels = {labels!r}
depends_on = {depends!r}
{extra}

def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
'''


def environment(
    directory: Path, settings: str = "", *, folder: str = "migrations", config: str = "alembic.ini"
) -> Path:
    """Make an environment with an empty versions folder; returns that folder."""
    versions = directory / folder / "versions"
    versions.mkdir(parents=True)
    (directory / folder / "env.py").write_text("")
    path = directory / config
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"[alembic]\nscript_location = {folder}\npath_separator = os\n{settings}\n")
    return versions


def revision(
    versions: Path,
    name: str,
    down: str | Sequence[str] | None = None,
    *,
    labels: str | None = None,
    depends: str | None = None,
    extra: str = "",
) -> Path:
    """Write a revision file that does nothing."""
    path = versions / f"{name}_x.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = EMPTY_REVISION.format(revision=name, down=down, labels=labels, depends=depends, extra=extra)
    path.write_text(text)
    return path
