"""What the commands share: how they read arguments, and whether they may write in colours."""
