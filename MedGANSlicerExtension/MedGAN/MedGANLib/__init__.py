"""The library behind MedGAN's 3D Slicer module.

`client` talks to the server, `jobs` runs slow work beside the interface, `volumes` and `segments` carry images
and labels in and out of the MRML scene, and `workflow` ties them into what a clinician does.
"""
