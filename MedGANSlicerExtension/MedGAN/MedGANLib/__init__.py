"""The library behind MedGAN's 3D Slicer module.

Read `workflow` first: it is what a clinician does. Below it:

* the server, without Slicer: `client` (its interface as calls), `transport`, `connection`, `multipart`, `address`;
  `records` and `training` (what it says), `errors` and `refusals` (how it fails), `results`, `running` and `downloads`;
* the scene, without a server: `volumes`, `headers`, `segments` (results in), `exports` (labels out), `markups`;
* between the two: `jobs`, `cancel`, `signals` (slow work beside the interface), `consents`, `runs` and `state`;
* the interface: `panels`.
"""
