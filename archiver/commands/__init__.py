"""Commands of `archiver`, one topic a module; cli.py registers them."""
