"""One run, from a request to a verdict; the only room that knows every step."""
