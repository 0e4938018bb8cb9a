"""The sections of the report, one a file; each gives None where there is nothing to say."""
