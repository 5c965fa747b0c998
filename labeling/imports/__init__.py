"""Imports: a file that somebody brings, to rows in the database."""
