"""One package or file a task: what to learn, how to run it, how to measure it."""
