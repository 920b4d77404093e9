"""Placeholder, replaced before release."""
import typer

app = typer.Typer()


@app.command()
def run() -> None:
    """Not there yet."""
