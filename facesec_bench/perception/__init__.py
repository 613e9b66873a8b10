"""Perceptual distances, differentiable."""
