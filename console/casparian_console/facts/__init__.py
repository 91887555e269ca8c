"""What is known about the home: a snapshot, the feed's events and a few answers, folded. Pure, no screen in it."""
