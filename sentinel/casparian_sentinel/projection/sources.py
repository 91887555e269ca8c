"""What a source says about its files, as an expression over `scout_files f`. SQL only."""

#: What becomes of a file's earlier rows when it changes: what its source says, or one that it lies in.
ON_CHANGE = """
case when exists (from scout_sources s where s.on_change = 'append'
    and (s.id = f.source_id or starts_with(f.path, s.path || '/'))) then 'append' else 'replace' end
"""
