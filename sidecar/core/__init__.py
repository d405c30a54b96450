"""Pure concepts of the Inference API: task types, endpoints, requests, results, errors, chunking. No I/O."""
