"""Programs for developing the sidecar; no part of the installed package."""
