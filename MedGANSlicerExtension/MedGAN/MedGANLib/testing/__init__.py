"""For the module's self-test: a small MedGAN server inside the process, without any model, and a synthetic volume."""
