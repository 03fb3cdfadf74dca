"""Topics, as the application and its clients use them: settings, presence, streams, commands."""
