"""The whole loop on real MR: segment, correct, submit, retrain, serve the better model."""
