"""Damage at each byte of a file: the suite takes some of the places, the campaign all of them."""

import pytest


def every(places: int) -> pytest.MarkDecorator:
    """Gives a test `step`: this many places in the suite, one in the campaign. A prime number meets all parts of a record."""
    sample = pytest.param(places, id="sample")
    return pytest.mark.parametrize("step", [sample, pytest.param(1, id="all", marks=pytest.mark.campaign)])
