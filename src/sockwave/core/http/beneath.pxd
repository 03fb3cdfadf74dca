"""The folder below a folder that a path names: openat2 of Linux 5.6, by which no path leads out."""
