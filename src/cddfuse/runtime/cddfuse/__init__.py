"""The exact fast form of CDDFuse: patch by patch, or in one pass over rows."""
