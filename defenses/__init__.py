"""Defences: what makes a face-recognition system resist. One paper, one file."""

PROJECT = "facesec_bench"
