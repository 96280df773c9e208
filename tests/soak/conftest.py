"""The soak is a program whose modules find each other beside it; only its test is a test."""

collect_ignore_glob = ["_*.py", "soak.py"]
