"""Serving ONNX packages with onnxruntime-genai; needs neither torch nor transformers."""
