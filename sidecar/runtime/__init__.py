"""Local models in the process: ONNX Runtime sessions, their batching queues, and the models carried in the package."""
