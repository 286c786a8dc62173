"""The fast form of CDDFuse: exact, patch by patch; or in tiles with sampled attention."""
