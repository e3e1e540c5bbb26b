"""int8: a network quantised as onnxruntime runs it fast, and the proof that it does."""
