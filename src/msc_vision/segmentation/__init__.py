"""Foreground and cells of one field."""
