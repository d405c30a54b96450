"""Inference services: one provider, one module, no I/O."""
