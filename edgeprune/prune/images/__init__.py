"""Images: data sets, folders, decoding, and how batches are served."""
