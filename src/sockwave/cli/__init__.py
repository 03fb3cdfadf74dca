"""The commands of sockwave: `sockwave serve`, `publish`, `chat` and `echo`."""

from sockwave.cli.commands import main as main
