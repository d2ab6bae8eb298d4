"""The admins' console, below `/admin`: what the archive holds and costs, and how its parts are.

Law: admins only. It works without JavaScript. One page, one file; what they share is shared.py.
"""
