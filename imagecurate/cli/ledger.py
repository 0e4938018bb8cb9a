"""``imagecurate ledger``: what became of the samples of an export."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

import typer

from imagecurate.cli.command import command
from imagecurate.cli.display import console, print_json, print_lines, table

__all__ = ["add_to"]

_COLUMNS = ("sample_id", "key", "status", "reason", "detail")


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app)(ledger)


def ledger(
    output: Annotated[str, typer.Argument(metavar="OUT", help="An output folder, local or a URL.")],
    kept: Annotated[bool, typer.Option("--kept", help="List samples that were kept.")] = False,
    dropped: Annotated[bool, typer.Option("--dropped", help="List samples that a filter dropped.")] = False,
    failed: Annotated[bool, typer.Option("--failed", help="List samples that failed.")] = False,
    reason: Annotated[str | None, typer.Option(help="Only with this reason: a filter's name, or what failed.")] = None,
    key: Annotated[str | None, typer.Option(help="Only the samples with this key.")] = None,
    source: Annotated[str | None, typer.Option(help="Only of this source.")] = None,
    shard: Annotated[str | None, typer.Option(help="Only of this input shard.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="List so many at most; 0 for all.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Say what became of the samples, as in: imagecurate ledger curated --failed --reason truncated.

    Without a choice the sums by status and reason.
    """
    from imagecurate.pipeline.ledger import ledger_rows, ledger_sums

    statuses = [name for name, asked in (("kept", kept), ("dropped", dropped), ("failed", failed)) if asked]
    wanted = {"reason": reason, "key": key, "source": source, "shard": shard}
    chosen = {name: value for name, value in wanted.items() if value is not None}
    if not statuses and not chosen:
        _show_sums(ledger_sums(output), as_json)
        return
    rows, count = ledger_rows(output, statuses, chosen, limit or None)
    if as_json:
        print_json({"samples": count, "rows": rows})
        return
    console().print(table(_COLUMNS, ([row[name] or "" for name in _COLUMNS] for row in rows)))
    shown = f", {len(rows):,} of them shown; --limit 0 shows all" if count > len(rows) else ""
    print_lines([f"{count:,} samples{shown}"])


def _show_sums(found: Counter[tuple[str, str]], as_json: bool) -> None:
    order = {"kept": 0, "dropped": 1, "failed": 2}
    rows: list[dict[str, Any]] = [
        {"status": status, "reason": reason, "samples": count}
        for (status, reason), count in sorted(found.items(), key=lambda each: (order[each[0][0]], -each[1]))
    ]
    if as_json:
        print_json({"samples": found.total(), "sums": rows})
        return
    shown = [(row["status"], row["reason"], f"{row['samples']:,}") for row in rows]
    console().print(table(["status", "reason", "samples>"], shown, title=f"{found.total():,} samples"))
