"""The admins' console, below `/admin`: what the archive holds and costs, how its parts are, and what admins do about it.

Law: admins only. It works without JavaScript. One page, one file; what they share is shared.py.
"""
