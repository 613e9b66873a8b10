"""Attacks: what makes a face-recognition system err or leak. One paper, one file."""

PROJECT = "facesec_bench"
