"""Why is an ONNX file not faster, and what is in it?"""
