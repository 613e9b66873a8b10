"""The kernel of facesec_bench: what two methods share. It imports no other room."""

PROJECT = "facesec_bench"
__version__ = "0.1.0"
