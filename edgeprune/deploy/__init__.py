"""The deploy wing, from an ONNX file to a verdict; never imports torch."""
