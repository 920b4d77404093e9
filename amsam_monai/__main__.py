"""`python -m amsam_monai` is the command `amsam`."""

from amsam_monai.cli import app

if __name__ == "__main__":
    app()
