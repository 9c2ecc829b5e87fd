"""Rows in; tables, figures and one HTML page out. Imports neither torch nor lightning."""
