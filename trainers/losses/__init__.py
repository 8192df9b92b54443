"""Losses, each with its source. One function or module a loss; MONAI's where it has them."""
