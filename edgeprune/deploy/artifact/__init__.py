"""The sealed ONNX file: seal, provenance, parity and counts."""
