"""Dev mode, `casparian run`: a parser from a file on disk, its rows looked at, nothing kept unless a sink is named.

`parser` reads what the parser says about itself, `params` what the command line says to it, `observe` counts and keeps
the first rows, `report` draws them, `sink` writes files. Running the parser is `casparian_worker`'s.
"""
