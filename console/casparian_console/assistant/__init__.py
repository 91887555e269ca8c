"""The assistant at the right side: what it may read and request, its conversation, and how that is drawn."""
