"""Scripts that leave the house: each is one file, standard library only, and copied into what it checks."""
