"""``python -m imagecurate`` is the command ``imagecurate``."""

from imagecurate.cli import main

if __name__ == "__main__":
    main()
