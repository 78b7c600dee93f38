"""Cells of an export: no spreadsheet takes one for a formula, and each can be read back."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from admin_api.http.streaming import text_cell

CELLS = st.text() | st.builds(
    str.__add__, st.sampled_from("=+-@'\t\r\n \u3000\uff1d\uff0b\uff0d\uff20"), st.text()
)


@given(CELLS)
def test_no_cell_is_a_formula_and_each_reads_back(text: str) -> None:
    cell = text_cell(text)
    assert unicodedata.normalize("NFKC", cell).lstrip()[:1] not in tuple("=+-@")
    assert cell.removeprefix("'") == text
