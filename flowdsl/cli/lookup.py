"""Which flow does the user mean? By slug among the configured flows, or by MODULE:FLOW."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flowdsl.database import ProjectConfig, project_config
from flowdsl.errors import ConfigError, FlowNotFound
from flowdsl.model.flow import Flow
from flowdsl.model.registry import load_flows
from flowdsl.model.step import is_valid_slug
from flowdsl.suggest import did_you_mean

if TYPE_CHECKING:
    from flowdsl.gateway.connections import Connection

AnyFlow = Flow[Any, Any]


def find_flows(specs: Sequence[str]) -> list[AnyFlow]:
    """Return the flows of these modules (MODULE or MODULE:FLOW), or the configured ones when none is named."""
    if specs:
        return load_flows(*specs)
    config = project_config()
    if not config.flows:
        raise ConfigError(
            "No flow is named, and none is configured.",
            hint='Name a module (MODULE or MODULE:FLOW), or write flows = ["MODULE"] into [tool.pgflow] of pyproject.toml.',
        )
    return load_flows(*config.flows, directory=config.directory)


def find_flow(name: str) -> AnyFlow:
    """Return the flow of that name: a slug of a configured flow, MODULE:FLOW, or a MODULE with a single flow."""
    if not is_valid_slug(name):
        return _only_flow(name)
    config = project_config()
    if not config.flows:
        raise _nothing_configured(name, config)
    flows = load_flows(*config.flows, directory=config.directory)
    for flow in flows:
        if flow.slug == name:
            return flow
    known = [flow.slug for flow in flows]
    raise ConfigError(
        f"There is no flow '{name}' in {', '.join(config.flows)}.",
        hint=f"{did_you_mean(name, known)} Flows: {', '.join(known)}. Others are named by their module or file: "
        f"MODULE:{name}, {name}.py; one that is only in the database with --from-database.".strip(),
    )


def is_only_in_database(name: str) -> bool:
    """Tell whether a name can be nothing but that of a flow in the database: a slug, where no flows are configured."""
    return is_valid_slug(name) and not project_config().flows


async def find_in_database(conn: "Connection", slug: str, version: int | None = None) -> dict[str, Any]:
    """Return what the database says of a flow (`describe_flow.sql`), of its current version unless one is named.

    Raises:
        FlowNotFound: with the flows, or versions, there are.
    """
    from flowdsl.gateway.calls import describe_flow, list_flows

    found: dict[str, Any] | None = await describe_flow(conn, slug, version)
    if found is not None:
        return found
    current = None if version is None else await describe_flow(conn, slug)
    if current is not None:
        raise FlowNotFound(
            f"Flow '{slug}' has no version {version} in the database.", hint=f"Its current one is {current['version']}."
        )
    known = list(dict.fromkeys(row.flow_slug for row in await list_flows(conn)))
    there = f"Flows there: {', '.join(known)}." if known else "There are none; bring yours: pgflow compile."
    raise FlowNotFound(
        f"There is no flow '{slug}' in the database.",
        hint=f"{did_you_mean(slug, known)} {there} One of a module is named as MODULE:{slug}, or by its slug once "
        'flows = ["MODULE"] stands in [tool.pgflow] of pyproject.toml.'.strip(),
    )


def _only_flow(spec: str) -> AnyFlow:
    flows = find_flows([spec])
    if len(flows) > 1:
        raise ConfigError(
            f"{spec} holds {len(flows)} flows.",
            hint=f"Name one of them: {', '.join(f'{spec}:{flow.slug}' for flow in flows)}",
        )
    return flows[0]


def _nothing_configured(name: str, config: ProjectConfig) -> ConfigError:
    return ConfigError(
        f"No flows are configured in {config.directory}, so '{name}' cannot be found.",
        hint=f'Name its module as MODULE:{name}, or write flows = ["MODULE"] into [tool.pgflow] of pyproject.toml.',
    )
