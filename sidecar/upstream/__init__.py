"""The one sender of all provider calls: connections, rate limits, retries, tokens, streams."""
