"""Delimited text: CSV and its relatives.

`read_csv` is the face. `reading` knows the order of things in a file; `block` reads the ordinary lines of a block at once, and
`record` judges every other record by the fields that `scan` finds. Both give the same rows, which a property test holds. `ahead`
has the lines that a record may need, and `header` names the columns.
"""

from casparian_shim.readers.csv.options import read_csv

__all__ = ["read_csv"]
