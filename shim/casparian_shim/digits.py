"""Decimals in plain notation: `0`, `0.0000000001`, `185.60`, never `0E-10` or `1E+2`."""

from decimal import Decimal

#: Further from the point than this the exponent stays: a few bytes may not become megabytes of zeros.
PLAIN_EXPONENT_MAX = 400


def plain_decimal(value: Decimal) -> str:
    """The digits as they are, zeros at the end too; zero has no sign. What is no finite number keeps Python's word."""
    if not value.is_finite():
        return str(value)
    if not value:
        value = abs(value)
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    return format(value, "f") if abs(exponent) <= PLAIN_EXPONENT_MAX else str(value)


def shortest_decimal(value: Decimal) -> str:
    """Plain notation without zeros at the end of a fraction: the same for every spelling of one number."""
    text = plain_decimal(value)
    return text.rstrip("0").rstrip(".") if "." in text and "E" not in text else text
