"""Adapters: every port against AWS, a local file or memory, one file each."""
