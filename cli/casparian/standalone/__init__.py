"""Scripts that are copied into what they check: each is one file and needs only Python's own library."""
