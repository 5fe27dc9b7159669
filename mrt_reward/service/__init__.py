"""The scoring pipeline, which knows only protocols."""
