"""Programs that do nothing but the physical work: what the tools at hand can give at most."""
