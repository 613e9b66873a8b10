"""Unlearning: what removes identities from a trained target. One paper, one file."""

PROJECT = "facesec_bench"
