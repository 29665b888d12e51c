"""The commands that tell of a policy file: what it may hold, and what it decides about a request."""

from __future__ import annotations

import typer


def add_to(policy_app: typer.Typer) -> None:
    """Add the commands to `airlock policy`."""

    @policy_app.command("schema")
    def schema() -> None:
        """Print the JSON Schema of policy files, for editors."""
        from gateway.policy_schema import schema_text

        typer.echo(schema_text(), nl=False)
