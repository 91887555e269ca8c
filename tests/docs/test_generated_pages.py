"""Pages that are made from the code are what the code says."""

import pytest

from docs.generated import PAGES, differing


@pytest.mark.parametrize("page", PAGES)
def test_a_generated_page_is_what_the_code_says(page: str) -> None:
    assert list(differing([page])) == [], "run: python -m docs.generated"
