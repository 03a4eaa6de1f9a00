"""ONNX graphs as data: read, rewritten by pure functions, and written, without the onnx package."""
