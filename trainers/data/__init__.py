"""Reading images and labels, and lists of cases."""
