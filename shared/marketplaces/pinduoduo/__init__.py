"""Pinduoduo: see README.md."""
