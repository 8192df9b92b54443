"""Losses, each with its source. One function or module a loss; MONAI's where it has them.

`adversarial` is what the two players minimise, a table by name. `penalties` keep the discriminator smooth. `classes`
make it know what an image should show. `anchor` keeps a network near what it was. `contrastive` teaches an encoder.
"""
