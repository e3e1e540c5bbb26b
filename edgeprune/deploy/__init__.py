"""From an ONNX file to a verdict; never imports torch."""
