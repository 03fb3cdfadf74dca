"""The commands of sockwave: `sockwave serve`, `sockwave chat` and `sockwave echo`."""

from sockwave.cli.commands import main as main
