"""Dense networks: built by name, their weights loaded, placed on a device."""
