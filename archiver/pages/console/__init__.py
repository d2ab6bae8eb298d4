"""The admins' console, below `/admin`: what the archive holds and costs, what waits for a person, and the forms that decide it.

Law: admins only; each form does what the API and the command line do, by the same verb, with the admin's name; what lets go or ends asks
first, with the numbers. It works without JavaScript. One page, one file; what they share is shared.py.
"""
