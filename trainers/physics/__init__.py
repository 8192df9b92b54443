"""How scanners make images, and how images get worse: what a reconstruction must not contradict."""
