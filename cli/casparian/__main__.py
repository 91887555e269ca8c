"""`python -m casparian`."""

from casparian.main import main

if __name__ == "__main__":
    main()
