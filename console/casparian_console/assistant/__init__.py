"""The assistant's side of a conversation: what it may look at and ask for, what was said, and how that is drawn. Pure."""
