"""What spreadsheets and tables do to texts without a word: cut them, escape them, write words where nothing was."""

from __future__ import annotations

from collections.abc import Iterator

from finetune_sdk.data.jsonvalue import Object
from finetune_sdk.types import Finding

_EXCEL_CELL = 32_767  # characters a cell of Excel holds
_NOTHING = frozenset(("nan", "NaN", "NA", "N/A", "#N/A", "<NA>", "null", "NULL", "None"))
"""What programs write for a cell without a value. It is kept as text: it may be meant."""


def artefacts(row: Object) -> Iterator[Finding]:
    """A warning for each cell of a table's row that is probably not what somebody wrote."""
    for column, cell in row.items():
        if not isinstance(cell, str):
            continue
        if cell in _NOTHING:
            what = f"the cell holds the word {cell!r}, which is kept as text"
            yield _warning("cell-nothing", what, "Leave the row out if it stands for no value.", column)
        elif len(cell) == _EXCEL_CELL:
            what = f"the text is exactly {_EXCEL_CELL:,} characters long, where Excel cuts"
            yield _warning("cell-cut", what, "Fetch the text from where the sheet got it.", column)
        elif "_x000D_" in cell:
            what = "the text holds '_x000D_', Excel's word for a line end"
            yield _warning("cell-escape", what, "Replace it by a line end.", column)


def _warning(rule: str, message: str, fix: str, column: str) -> Finding:
    return Finding(rule=rule, severity="warning", message=message, fix=fix, path=column)
