"""A trained model as files for other runtimes: ONNX, TorchScript, OpenVINO."""
