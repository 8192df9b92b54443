"""The GAN library of MedGAN and its command line: models, losses, training, evaluation.

Knows nothing of servers or Slicer.
"""

__version__ = "0.1.0"
