"""Settings as data: one declaration gives checks, the sample file and the docs page."""
