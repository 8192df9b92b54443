"""The figures of the README, each printed by `python -m benchmarks NAME`."""
