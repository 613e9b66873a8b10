"""Watermarkers: one file each; see `interfaces.Watermark`."""
