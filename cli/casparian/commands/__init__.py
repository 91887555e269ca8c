"""One module a command group; each exports `COMMANDS: dict[str, click.Command]`."""
