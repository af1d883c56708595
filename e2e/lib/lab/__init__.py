"""A laboratory on loopback: throw-away PostgreSQL servers, Weir or a bare relay in
front of them, and the small test runner that every end-to-end suite uses.

Only the standard library. Nothing here listens on anything but 127.0.0.1, every
process started dies with the script, and what is slow to get is cached under
``~/.cache/weir``, keyed by version.
"""
