"""The web page: open, see, click, correct, save."""
