"""``mlmethods info``: what is installed here."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from mlmethods.cli.command import Options, command
from mlmethods.cli.output import print_json, print_table

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app)(info)


def info(
    options: Options,
    devices: Annotated[
        bool, typer.Option("--devices", help="Load each backend and list its devices.")
    ] = False,
) -> None:
    """Show versions, backends, folders and the machine."""
    from mlmethods.backend import list_backends
    from mlmethods.common.machine import cache_directory, machine, versions

    document: dict[str, Any] = {
        "versions": versions(),
        "machine": machine(),
        "backends": {backend.name: backend.version for backend in list_backends()},
        "cache": str(cache_directory()),
        "data": os.environ.get("MLMETHODS_DATA_DIR", ""),
    }
    if devices:
        document["devices"] = {
            backend.name: _devices(backend.name) for backend in list_backends()
        }
    if options.json:
        print_json(document)
        return
    rows = []
    for section, content in document.items():
        entries = content.items() if isinstance(content, dict) else [("", content)]
        for key, value in entries:
            shown = ", ".join(value) if isinstance(value, list) else value
            rows.append((section, key, shown))
    print_table(("", "", ""), rows)


def _devices(name: str) -> list[str]:
    from mlmethods.backend import get_backend
    from mlmethods.common.machine import backend_devices
    from mlmethods.errors import BackendLoadError

    try:
        return backend_devices(get_backend(name))
    except (BackendLoadError, RuntimeError) as error:
        return [f"not usable: {error}"]
