"""Rows of tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape


def table(head: str, body: str, kind: str = "") -> str:
    """A table in a card, from its rows."""
    shape = f' class="{kind}"' if kind else ""
    return f'<div class="card"><table{shape}><thead>{head}</thead><tbody>{body}</tbody></table></div>'


def row(cells: Sequence[str], *, head: bool = False, numbers: bool = False, note: str = "") -> str:
    """A row; with `numbers` all but the first cell stand right. `note` goes small below the first."""
    return f"<tr>{''.join(_cells(cells, head=head, numbers=numbers, note=note))}</tr>"


def _cells(cells: Sequence[str], *, head: bool, numbers: bool, note: str) -> Iterator[str]:
    for index, cell in enumerate(cells):
        right = ' class="number"' if numbers and index else ""
        if head:
            yield f'<th scope="col"{right}>{escape(cell)}</th>' if cell else "<td></td>"
        elif index == 0 and numbers:
            small = f"<small>{escape(note)}</small>" if note else ""
            yield f'<th scope="row">{escape(cell)}{small}</th>'
        else:
            value, bracket, rest = escape(cell).partition(" (")
            yield (
                f"<td{right}>{value}<small>{rest.rstrip(')')}</small></td>"
                if bracket and right
                else f"<td{right}>{escape(cell)}</td>"
            )
