"""Workers: how they come and go (`lifecycle`), what is so of them right now (`presence`), what they wrote where."""
