"""Makeup: where it lies in a chip, what words for it mean, how it looks, and how near an image comes to it."""
