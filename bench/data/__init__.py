"""Makes inputs: seeded, the same on every machine with the same DuckDB, never copied from anywhere."""
