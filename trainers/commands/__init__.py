"""The command line, one file a task."""
