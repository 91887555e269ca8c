"""The gallery of damaged files, docs/reference/damaged-files.md: `samples` has the files, `page` reads and describes them.

The page is generated, so that it says what the readers do; `python -m docs.generated` writes it, and a test compares it.
"""

from docs.gallery.page import gallery_page
from docs.gallery.samples import SECTIONS, Section

__all__ = ["SECTIONS", "Section", "gallery_page"]
