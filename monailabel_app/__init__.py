"""MedGAN's server: a MONAI Label app that serves, corrects and improves the models of `trainers`."""

__version__ = "0.1.0"
