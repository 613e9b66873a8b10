"""Experiments: the command line, the Hydra entry point, one thin recipe per study, and their configuration."""

PROJECT = "facesec_bench"
