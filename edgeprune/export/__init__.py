"""From a torch network to what exists outside torch: ONNX files and timed blocks."""
