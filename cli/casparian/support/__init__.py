"""The support bundle: what helps somebody far away to see what is wrong, without a row, a path or a key of the user's."""
