"""The commands, one file a group: each parses, calls one function, prints and exits."""
