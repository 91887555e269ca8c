"""What is known about the home: a snapshot, the feed's events and the answers to a few queries, folded together."""
